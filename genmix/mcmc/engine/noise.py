"""The randomness of one transition, declared: how many normal and uniform numbers it takes.

A kernel that declares its noise, and moves deterministically given it, lets the runner draw the
noise of all chains for many steps at once; `step(key, state)` is `move` with noise from the key.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32, Key, PyTree, UInt32

from genmix.mcmc.engine import threefry


class Noise(NamedTuple):
    """Pytrees of standard normal and of uniform [0, 1) numbers, or of their shapes and types.

    `shared` are uniform numbers that all chains see alike, for what a loop over a transition's
    steps keeps a scalar in.
    """

    normal: PyTree = ()
    uniform: PyTree = ()
    shared: PyTree = ()


def scalar() -> jax.ShapeDtypeStruct:
    """Shape and type of one number."""
    return jax.ShapeDtypeStruct((), jnp.result_type(float))


def like(position: PyTree) -> PyTree:
    """Shapes and types of a position."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), position)


def size(tree: PyTree) -> int:
    """Numbers that there are; those of one chain are `spec.normal` and `spec.uniform`."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def draw(key: Key[Array, ""], spec: Noise) -> Noise:
    """Noise of one transition."""
    first = jnp.zeros(1, jnp.uint32)
    drawn = at(block(threefry.stream(key), first, first, spec), spec, jnp.int32(0))
    first_of = lambda tree: jax.tree.map(lambda a: a[0], tree)
    return Noise(first_of(drawn.normal), first_of(drawn.uniform), drawn.shared)


def block(
    stream: threefry.Stream,
    pairs: UInt32[Array, " pairs"],
    index: UInt32[Array, " chains"],
    spec: Noise,
    *,
    chains_last: bool = False,
) -> Noise:
    """Noise of some chains for pairs of steps, complex: [pairs, chains, ...], or chains last.

    The first step of a pair, 2 * pair, has the real parts and the second the imaginary ones: see
    `at`. A number depends on the stream, the step, the chain's index and its place in the spec; not
    on which others are drawn with it. Shared numbers, [pairs, ...], count from the other end.
    """
    total = size((spec.normal, spec.uniform))

    def numbers(
        generate: Any, specs: PyTree, first: int, index: Array, chains_last: bool
    ) -> PyTree:
        leaves, structure = jax.tree.flatten(specs)
        if not leaves:
            return specs
        sizes = [math.prod(leaf.shape) for leaf in leaves]
        place = np.uint32(first) + jnp.arange(sum(sizes), dtype=jnp.uint32)
        start = index * np.uint32(total)
        low = place[:, None] + start[None, :] if chains_last else start[:, None] + place[None, :]
        low = jnp.broadcast_to(low, pairs.shape + low.shape)
        high = jnp.broadcast_to(pairs[:, None, None], low.shape)
        flat = generate(stream, high, low, jnp.result_type(*leaves))
        axis = 1 if chains_last else 2
        shaped = []
        parts = jnp.split(flat, np.cumsum(sizes)[:-1], axis=axis)
        for part, leaf in zip(parts, leaves, strict=True):
            shape = part.shape[:axis] + leaf.shape + part.shape[axis + 1 :]
            shaped.append(part.reshape(shape))
        return jax.tree.unflatten(structure, shaped)

    nobody = jnp.zeros(1, jnp.uint32)
    shared = numbers(threefry.uniforms, spec.shared, 2**32 - size(spec.shared), nobody, False)
    return Noise(
        numbers(threefry.normals, spec.normal, 0, index, chains_last),
        numbers(threefry.uniforms, spec.uniform, size(spec.normal), index, chains_last),
        jax.tree.map(lambda a: jnp.squeeze(a, 1), shared),
    )


def at(block: Noise, spec: Noise, step: Int32[Array, ""]) -> Noise:
    """The noise of one step of a block, counted from its first: leaves lose the axis of pairs."""

    def part(pairs: Array, like: jax.ShapeDtypeStruct) -> Array:
        both = jax.lax.dynamic_index_in_dim(pairs, step // 2, keepdims=False)
        return jnp.where(step % 2 == 0, both.real, both.imag).astype(like.dtype)

    return jax.tree.map(part, block, spec)
