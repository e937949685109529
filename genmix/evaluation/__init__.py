"""Evaluation: likelihoods, latents, baselines, and pictures to look at."""

from genmix.evaluation import baselines, pictures
from genmix.evaluation.bits_per_dim import bits_per_dim
from genmix.evaluation.latents import active_units, activities, rates
from genmix.evaluation.likelihood import LogLikelihood, log_likelihood

__all__ = [
    "LogLikelihood",
    "active_units",
    "activities",
    "baselines",
    "bits_per_dim",
    "log_likelihood",
    "pictures",
    "rates",
]
