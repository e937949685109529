"""Predictions of log-weights that a score-function estimator subtracts."""

import jax.numpy as jnp
from jaxtyping import Array, Float

LogWeights = Float[Array, " k"]


def none(log_weights: LogWeights) -> LogWeights:
    """Predict zero: the plain score function."""
    return jnp.zeros_like(log_weights)


def leave_one_out(log_weights: LogWeights) -> LogWeights:
    """Predict each log-weight by the mean of the others.

    Raises:
        ValueError: if there is one particle only.

    Source: Mnih & Rezende (2016), arXiv:1602.06725, equation 10.
    """
    k = log_weights.shape[0]
    if k < 2:
        raise ValueError("leave_one_out needs at least 2 particles, got 1: raise num_particles.")
    return (jnp.sum(log_weights) - log_weights) / (k - 1)
