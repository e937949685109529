"""What a critic may know of the other events of its batch: how much they differ."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from genmix.nets.pixels import Image


class MinibatchDeviation(nnx.Module):
    """One more channel: the standard deviation over a group of events, averaged over the image.

    It depends on a batch, the axis named "batch" of `jax.vmap`; the i-th of n / group_size groups
    has every n / group_size-th event from i on. Where the batch is no multiple of the group size it
    is one group, and an event without a batch has the deviation 0.

    Source: Karras et al. (2018), arXiv:1710.10196, section 3; groups of 4 as in the authors' code.
    """

    def __init__(self, group_size: int = 4):
        if group_size < 1:
            raise ValueError(f"group_size must be at least 1, got {group_size}.")
        self.group_size = group_size

    def __call__(self, x: Image) -> Float[Array, "height width channels_and_one"]:
        try:
            batch, place = jax.lax.all_gather(x, "batch"), jax.lax.axis_index("batch")
        except NameError:  # no such axis
            batch, place = x[None], jnp.zeros((), jnp.int32)
        size = self.group_size if len(batch) % self.group_size == 0 else len(batch)
        groups = batch.reshape(size, len(batch) // size, *x.shape)
        variance = jnp.mean((groups - jnp.mean(groups, axis=0, keepdims=True)) ** 2, axis=0)
        deviations = jnp.mean(jnp.sqrt(variance + 1e-8), axis=(1, 2, 3))
        own = jnp.full((*x.shape[:2], 1), deviations[place % len(deviations)], x.dtype)
        return jnp.concatenate([x, own], axis=-1)
