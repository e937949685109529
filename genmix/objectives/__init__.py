"""Terms of objectives, which add and scale: `elbo() + 10.0 * mmd(...)`."""

from genmix.objectives import (
    adversarial,
    autoencoding,
    baselines,
    comparison,
    contrastive_divergence,
    diffusion,
    distances,
    information,
    likelihood,
    mask_cycling,
    mean_field,
    up_down,
    walkback,
)
from genmix.objectives.likelihood import (
    Rate,
    elbo,
    importance_weighted,
    iwae,
    renyi,
    vimco,
    vr_max,
)
from genmix.objectives.term import Term

__all__ = [
    "Rate",
    "Term",
    "adversarial",
    "autoencoding",
    "baselines",
    "comparison",
    "contrastive_divergence",
    "diffusion",
    "distances",
    "elbo",
    "importance_weighted",
    "information",
    "iwae",
    "likelihood",
    "mask_cycling",
    "mean_field",
    "renyi",
    "up_down",
    "vimco",
    "vr_max",
    "walkback",
]
