"""What compares distributions by their samples or scores: distances, GAN losses, information."""

from genmix.divergences import (
    feature_matching,
    gan,
    gradient_penalty,
    mmd,
    mutual_information,
    sliced_wasserstein,
)

__all__ = [
    "feature_matching",
    "gan",
    "gradient_penalty",
    "mmd",
    "mutual_information",
    "sliced_wasserstein",
]
