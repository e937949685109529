"""The randomness of one transition, declared: how many normal and uniform numbers it takes.

A kernel that declares its noise, and moves deterministically given it, lets the runner draw the
noise of all chains for many steps at once; `step(key, state)` is `move` with noise from the key.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from genmix.mcmc import threefry


class Noise(NamedTuple):
    """Pytrees of standard normal and of uniform [0, 1) numbers, or of their shapes and types."""

    normal: PyTree = ()
    uniform: PyTree = ()


def scalar() -> jax.ShapeDtypeStruct:
    """Shape and type of one number."""
    return jax.ShapeDtypeStruct((), jnp.result_type(float))


def like(position: PyTree) -> PyTree:
    """Shapes and types of a position."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), position)


def size(spec: Noise) -> int:
    """Numbers that one transition takes."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(spec))


def draw(key: Key[Array, ""], spec: Noise) -> Noise:
    """Noise of one transition."""
    return block(threefry.stream(key), np.uint32(0), jnp.zeros(1, jnp.uint32), spec, squeeze=True)


def block(
    stream: threefry.Stream,
    steps: Array | np.uint32,
    index: Array,
    spec: Noise,
    *,
    chains_last: bool = False,
    squeeze: bool = False,
) -> Noise:
    """Noise of some chains for some steps: leaves [*steps, chains, ...] or [*steps, ..., chains].

    A number depends on the stream, the step, the chain's index and its place in the spec; not on
    which others are drawn with it. `squeeze` drops the axis of a single chain.
    """
    total = size(spec)

    def numbers(generate: Any, specs: PyTree, first: int) -> PyTree:
        leaves, structure = jax.tree.flatten(specs)
        if not leaves:
            return specs
        sizes = [math.prod(leaf.shape) for leaf in leaves]
        place = first + jnp.arange(sum(sizes), dtype=jnp.uint32)
        start = index * np.uint32(total)
        low = place[:, None] + start[None, :] if chains_last else start[:, None] + place[None, :]
        high = jnp.asarray(steps, jnp.uint32)
        low = jnp.broadcast_to(low, high.shape + low.shape)
        high = jnp.broadcast_to(high[..., None, None], low.shape)
        flat = generate(stream, high, low, jnp.result_type(*leaves))
        axis = flat.ndim - 2 if chains_last else flat.ndim - 1
        parts = jnp.split(flat, np.cumsum(sizes)[:-1], axis=axis)
        shaped = []
        for part, leaf in zip(parts, leaves, strict=True):
            shape = part.shape[:axis] + leaf.shape + part.shape[axis + 1 :]
            part = part.reshape(shape).astype(leaf.dtype)
            shaped.append(part[0] if squeeze else part)
        return jax.tree.unflatten(structure, shaped)

    num_normal = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(spec.normal))
    return Noise(
        numbers(threefry.normal, spec.normal, 0),
        numbers(threefry.uniform, spec.uniform, num_normal),
    )
