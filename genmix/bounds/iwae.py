"""The importance-weighted bound."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def bound(log_weights: Float[Array, " k"]) -> Float[Array, ""]:
    """Log of the mean of k weights, whose expectation is L_k <= L_{k+1} <= log p(x), in nats.

    Source: Burda, Grosse & Salakhutdinov (2016), arXiv:1509.00519, equation 8.
    """
    return jax.nn.logsumexp(log_weights) - jnp.log(log_weights.shape[0])
