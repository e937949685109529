"""When a particle filter resamples: functions of the log-weights [n]."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from genmix.mcmc import importance

Criterion = Callable[[Float[Array, " n"]], Bool[Array, ""]]


def low_ess(log_weights: Float[Array, " n"]) -> Bool[Array, ""]:
    """Where the effective sample size has fallen below half the particles.

    Source: Maddison et al. (2017), arXiv:1705.09279, section 3.
    """
    return importance.effective_sample_size(log_weights) < 0.5 * log_weights.shape[0]


def always(log_weights: Float[Array, " n"]) -> Bool[Array, ""]:
    """At every step."""
    del log_weights
    return jnp.array(True)


def never(log_weights: Float[Array, " n"]) -> Bool[Array, ""]:
    """At no step: importance sampling of whole paths."""
    del log_weights
    return jnp.array(False)
