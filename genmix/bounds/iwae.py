"""The importance-weighted bound."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from genmix.bounds.bound import Bound


def _log_mean_exp(log_weights: Float[Array, " k"]) -> Float[Array, ""]:
    return jax.nn.logsumexp(log_weights) - jnp.log(log_weights.shape[0])


bound = Bound(_log_mean_exp, name="iwae", path_factors=lambda a: a)
"""Log of the mean of k weights, whose expectation is L_k <= L_{k+1} <= log p(x), in nats.

Source: Burda, Grosse & Salakhutdinov (2016), arXiv:1509.00519, equation 8.
"""
