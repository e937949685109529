"""Feature vectors of length one."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def pixel_normalized(x: Float[Array, "*pixels channels"]) -> Float[Array, "*pixels channels"]:
    """The channels of each pixel with a mean square of 1; zeros stay zeros.

    Source: Karras et al. (2018), arXiv:1710.10196, section 4.2.
    """
    return x * jax.lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-8)
