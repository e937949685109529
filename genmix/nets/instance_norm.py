"""Normalization of each channel of one image by its own pixels."""

import jax
import jax.numpy as jnp
from flax import nnx

from genmix.nets.pixels import Image


def instance_normalized(x: Image, epsilon: float = 1e-5) -> Image:
    """Each channel with mean 0 and variance 1 over its pixels; a constant one is 0."""
    centred = x - jnp.mean(x, axis=(0, 1), keepdims=True)
    variance = jnp.mean(centred**2, axis=(0, 1), keepdims=True)
    return centred * jax.lax.rsqrt(variance + epsilon)


class InstanceNorm(nnx.Module):
    """`instance_normalized`, then a learnt scale and shift of each channel.

    Source: Ulyanov, Vedaldi & Lempitsky (2016), arXiv:1607.08022.
    """

    def __init__(self, channels: int):
        self.scale, self.shift = nnx.Param(jnp.ones(channels)), nnx.Param(jnp.zeros(channels))

    def __call__(self, x: Image) -> Image:
        scale, shift = (v[...].reshape(1, 1, -1) for v in (self.scale, self.shift))
        return scale * instance_normalized(x) + shift
