"""What networks over the pixels of an image share: marked edges, and a condition for each pixel."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PyTree


def with_ones(x: Float[Array, "*pixels channels"]) -> Float[Array, "*pixels _"]:
    """One more channel, of ones: where padding has zeros, a network sees the image's edge."""
    return jnp.concatenate([x, jnp.ones((*x.shape[:-1], 1), x.dtype)], axis=-1)


def shifts(
    network: Any, contexts: Sequence[nnx.Linear], num_layers: int, cond: PyTree
) -> list[Float[Array, "rows columns gates"]]:
    """What the condition adds in each layer; one row and column if it is a vector or there is none.

    Raises:
        ValueError: if it is neither a vector of `network.cond_size` entries nor a map of them over
            `network.shape`.
    """
    dtype = network.out.kernel.dtype
    if not network.cond_size:
        return [jnp.zeros((1, 1, 1), dtype)] * num_layers
    allowed = ((network.cond_size,), (*network.shape, network.cond_size))
    shape = getattr(cond, "shape", None)
    if shape not in allowed:
        got = type(cond).__name__ if shape is None else f"shape {shape}"
        raise ValueError(
            f"{type(network).__name__} needs a cond of shape {allowed[0]} or {allowed[1]}, got "
            f"{got}."
        )
    c = cond if len(shape) > 1 else cond[None, None]
    return [context(c).astype(dtype) for context in contexts]
