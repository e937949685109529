"""Bounds on log p(x) by log-weights, with their gradient estimators."""

from genmix.bounds import (
    baselines,
    doubly_reparameterized,
    elbo,
    iwae,
    renyi,
    reparameterized,
    resampled,
    score_function,
    sticking_the_landing,
    vimco,
    vr_max,
    weighted,
)
from genmix.bounds.log_weight import Draw, Estimate, Terms, Weigh

__all__ = [
    "Draw",
    "Estimate",
    "Terms",
    "Weigh",
    "baselines",
    "doubly_reparameterized",
    "elbo",
    "iwae",
    "renyi",
    "reparameterized",
    "resampled",
    "score_function",
    "sticking_the_landing",
    "vimco",
    "vr_max",
    "weighted",
]
