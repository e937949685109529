"""Bounds on log p(x) by log-weights, with their gradient estimators."""

from genmix.bounds import baselines, elbo, estimators, iwae, renyi, vr_max
from genmix.bounds.bound import Bound
from genmix.bounds.estimator import Estimator
from genmix.bounds.estimators.doubly_reparameterized import estimator as doubly_reparameterized
from genmix.bounds.estimators.reparameterized import estimator as reparameterized
from genmix.bounds.estimators.resampled import estimator as resampled
from genmix.bounds.estimators.score_function import estimator as score_function
from genmix.bounds.estimators.sticking_the_landing import estimator as sticking_the_landing
from genmix.bounds.estimators.vimco import estimator as vimco
from genmix.bounds.estimators.weighted import estimator as weighted
from genmix.bounds.log_weight import Draw, Estimate, Terms, Weigh

__all__ = [
    "Bound",
    "Draw",
    "Estimate",
    "Estimator",
    "Terms",
    "Weigh",
    "baselines",
    "doubly_reparameterized",
    "elbo",
    "estimators",
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
