"""Adaptive instance normalization."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from genmix.nets.instance_norm import instance_normalized
from genmix.nets.pixels import Image


def adain(x: Image, scale: Float[Array, " channels"], shift: Float[Array, " channels"]) -> Image:
    """Each channel with the mean `shift` and the standard deviation `scale` over its pixels.

    Source: Huang & Belongie (2017), arXiv:1703.06868, equation 8.
    """
    per_channel = lambda v: jnp.reshape(v, (1, 1, -1))
    return per_channel(scale) * instance_normalized(x) + per_channel(shift)
