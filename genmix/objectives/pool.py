"""Fake events of earlier steps, which a critic is shown again so that it does not forget them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key, PyTree


class Held(NamedTuple):
    """The events of a pool; they travel in the carry of a critic's loss."""

    events: PyTree  # [size, ...]
    num_events: Int[Array, ""]  # of events that have come in, at most size


class Pool(NamedTuple):
    """A pool of so many fake events.

    Attributes:
        size: with 0 the critic sees the current events, as without a pool.
        like: one event like the fake ones; its shape and dtype alone count.

    Source: Shrivastava et al. (2017), arXiv:1612.07828, section 2.3; Zhu et al. (2017),
    arXiv:1703.10593, section 4.
    """

    size: int
    like: PyTree

    def empty(self) -> Held:
        """Of zeros, none of which is ever shown.

        Raises:
            ValueError: if the size is negative.
        """
        if self.size < 0:
            raise ValueError(f"size of a pool must not be negative, got {self.size}.")
        room = lambda a: jnp.zeros((self.size, *jnp.shape(a)), jnp.result_type(a))
        return Held(jax.tree.map(room, self.like), jnp.zeros((), jnp.int32))

    def exchange(self, key: Key[Array, ""], held: Held, events: PyTree) -> tuple[PyTree, Held]:
        """What the critic is shown in place of a batch of events, and the pool after that.

        Events come one after the other. While there is room one is kept and shown; then, every
        second time, one that was kept is shown in its place and gives its own to it.
        """
        if not self.size:
            return events, held

        def one(held: Held, given: tuple[Array, PyTree]) -> tuple[Held, PyTree]:
            key, event = given
            coin_key, place_key = jax.random.split(key)
            is_full = held.num_events == self.size
            drawn = jax.random.randint(place_key, (), 0, self.size)
            place = jnp.where(is_full, drawn, held.num_events)
            swaps = is_full & jax.random.bernoulli(coin_key)
            kept = jax.tree.map(lambda a: a[place], held.events)
            shown = jax.tree.map(lambda k, e: jnp.where(swaps, k, e), kept, event)
            # An event that is shown and not kept leaves its place as it is.
            left = jax.tree.map(lambda k, e: jnp.where(swaps | ~is_full, e, k), kept, event)
            events = jax.tree.map(lambda a, e: a.at[place].set(e), held.events, left)
            return Held(events, jnp.minimum(held.num_events + 1, self.size)), shown

        keys = jax.random.split(key, len(jax.tree.leaves(events)[0]))
        held, shown = jax.lax.scan(one, held, (keys, events))
        return shown, held
