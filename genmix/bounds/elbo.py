"""The evidence lower bound."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def bound(log_weights: Float[Array, " k"]) -> Float[Array, ""]:
    """Mean of k log-weights: an unbiased estimate of the ELBO <= log p(x), in nats.

    Source: Kingma & Welling (2014), arXiv:1312.6114, section 2.2.
    """
    return jnp.mean(log_weights)
