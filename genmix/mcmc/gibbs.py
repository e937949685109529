"""Gibbs sampling: each block in turn, or one at random, is drawn from its full conditional."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from genmix.mcmc import target
from genmix.mcmc.engine import threefry
from genmix.mcmc.record import record


class State(NamedTuple):
    """Where a chain is."""

    position: Any


class Info(NamedTuple):
    """Diagnostics of one transition."""

    is_divergent: Array  # the conditionals gave a number that is not finite; the move was refused


@record
@dataclasses.dataclass(frozen=True)
class Kernel:
    """See `build`."""

    updates: Any
    scan: str = dataclasses.field(metadata={"static": True})

    def init(self, position: PyTree) -> State:
        return State(target.as_position(position, real=False))

    def step(self, key: Key[Array, ""], state: State) -> tuple[State, Info]:
        if self.scan == "random":
            block_key, key = jax.random.split(key)
            chosen = jax.random.randint(block_key, (), 0, len(self.updates))
            position = jax.lax.switch(
                chosen,
                [partial(_with_stream, update) for update in self.updates],
                threefry.stream(key),
                state.position,
            )
        else:
            position = state.position
            several = len(self.updates) > 1
            keys = jax.random.split(key, len(self.updates)) if several else [key]
            for update, block_key in zip(self.updates, keys, strict=True):
                position = target.in_precision_of(position, update(block_key, position))
        finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(position)]
        is_divergent = ~jnp.all(jnp.stack(finite))
        position = jax.tree.map(
            lambda old, new: jnp.where(is_divergent, old, new), state.position, position
        )
        return State(position), Info(is_divergent)


def _with_stream(update: Callable[..., Any], stream: threefry.Stream, position: PyTree) -> PyTree:
    """An update without a typed key, of which a mapped `switch` hands copies to its branches."""
    key = jax.random.wrap_key_data(stream, impl="threefry2x32")
    return target.in_precision_of(position, update(key, position))


def build(updates: Sequence[Callable[..., Any]], *, scan: str = "systematic") -> Kernel:
    """Gibbs sampling by blocks.

    Args:
        updates: for each block (key, position) -> position, with that block drawn given the rest.
        scan: "systematic" draws all blocks, in order, in one step; "random" draws one, which makes
            the chain reversible.

    Raises:
        ValueError: if there is no update or scan is neither.

    Source: Geman & Geman (1984), IEEE PAMI 6(6), section XI.
    """
    if not updates:
        raise ValueError("updates must hold at least one function, got none.")
    if scan not in ("systematic", "random"):
        raise ValueError(f"scan must be 'systematic' or 'random', got {scan!r}.")
    return Kernel(tuple(target.as_pytree(update) for update in updates), scan)
