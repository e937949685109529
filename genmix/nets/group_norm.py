"""Normalization of groups of channels of one image, over all of its pixels."""

import jax
import jax.numpy as jnp
from flax import nnx

from genmix.nets.pixels import Image


class GroupNorm(nnx.Module):
    """Each group of channels with mean 0 and variance 1 over the image, then scaled and shifted.

    `nnx.GroupNorm` wants a batch: of one image alone it takes each row for an image.

    Raises:
        ValueError: if the groups do not divide the channels.

    Source: Wu & He (2018), arXiv:1803.08494, equations 1 to 6.
    """

    def __init__(self, channels: int, num_groups: int, *, epsilon: float = 1e-6):
        if min(channels, num_groups) < 1 or channels % num_groups:
            raise ValueError(
                f"num_groups must divide the channels, got {num_groups} for {channels} channels."
            )
        self.num_groups, self.epsilon = num_groups, epsilon
        self.scale, self.shift = nnx.Param(jnp.ones(channels)), nnx.Param(jnp.zeros(channels))

    def __call__(self, x: Image) -> Image:
        groups = x.reshape(*x.shape[:2], self.num_groups, -1)
        centred = groups - jnp.mean(groups, axis=(0, 1, 3), keepdims=True)
        variance = jnp.mean(centred**2, axis=(0, 1, 3), keepdims=True)
        normalized = (centred * jax.lax.rsqrt(variance + self.epsilon)).reshape(x.shape)
        scale, shift = (v[...].reshape(1, 1, -1) for v in (self.scale, self.shift))
        return scale * normalized + shift
