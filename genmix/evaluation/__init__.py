"""Evaluation: likelihoods, latents, baselines, and pictures to look at."""

from genmix.evaluation import baselines, gradients, pictures
from genmix.evaluation.bits_per_dim import (
    bits_per_dim,
    bits_per_dim_logit,
    bits_per_dim_unit_interval,
)
from genmix.evaluation.elbo import Elbo, elbo
from genmix.evaluation.latents import active_units, activities, rates
from genmix.evaluation.likelihood import LogLikelihood, log_likelihood
from genmix.evaluation.sandwich import Annealing, Bound, Sandwich, sandwich, sandwich_of_simulated

__all__ = [
    "Annealing",
    "Bound",
    "Elbo",
    "LogLikelihood",
    "Sandwich",
    "active_units",
    "activities",
    "baselines",
    "bits_per_dim",
    "bits_per_dim_logit",
    "bits_per_dim_unit_interval",
    "elbo",
    "gradients",
    "log_likelihood",
    "pictures",
    "rates",
    "sandwich",
    "sandwich_of_simulated",
]
