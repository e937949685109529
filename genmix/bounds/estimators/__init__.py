"""Gradient estimators, one a file: how it draws, how it estimates, and the record of both."""

from genmix.bounds.estimators import (
    doubly_reparameterized,
    reparameterized,
    resampled,
    score_function,
    sticking_the_landing,
    vimco,
    wake,
    weighted,
)

__all__ = [
    "doubly_reparameterized",
    "reparameterized",
    "resampled",
    "score_function",
    "sticking_the_landing",
    "vimco",
    "wake",
    "weighted",
]
