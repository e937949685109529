"""What compares distributions by their samples or scores: distances, GAN losses, information."""

from genmix.divergences import (
    coverage,
    feature_matching,
    gan,
    gradient_penalty,
    mmd,
    mutual_information,
    sliced_wasserstein,
)

__all__ = [
    "coverage",
    "feature_matching",
    "gan",
    "gradient_penalty",
    "mmd",
    "mutual_information",
    "sliced_wasserstein",
]
