"""Sequences of different lengths in arrays of one shape: padded behind their ends."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree, Shaped


class Padded(NamedTuple):
    """A sequence, or several along the first axis; what lies behind `length` steps is no data."""

    values: Any  # [*sequences, steps, *event]
    length: Any  # int32 [*sequences]

    def mask(self) -> Bool[Array, " steps"]:
        """Which steps of one sequence are data."""
        return jnp.arange(jax.tree.leaves(self.values)[0].shape[0]) < self.length

    def cleared(self) -> "Padded":
        """One sequence with zeros behind its end, whatever was there, NaN included."""
        here = self.mask()
        return self._replace(values=jax.tree.map(lambda a: where(here, a, 0), self.values))


def one(x: PyTree) -> Padded:
    """One sequence, its padding cleared; an array without padding is all data.

    Raises:
        ValueError: if there is no step.
    """
    if isinstance(x, Padded):
        return x.cleared()
    num_steps = jax.tree.leaves(x)[0].shape[0]
    if num_steps < 1:
        raise ValueError("a sequence needs at least one step, got an array without any.")
    return Padded(x, jnp.asarray(num_steps, jnp.int32))


def where(condition: Bool[Array, " steps"], x: Shaped[Array, "steps ..."], y: Array | int) -> Array:
    """x where the condition holds for its entry of the first axis, y elsewhere."""
    x = jnp.asarray(x)
    return jnp.where(condition.reshape(condition.shape + (1,) * (x.ndim - 1)), x, y)


def total(steps: Float[Array, "steps ..."]) -> Float[Array, "..."]:
    """Sum over the steps from the first on, whose bits zeros behind the last do not change."""
    return jax.lax.scan(lambda s, a: (s + a, None), jnp.zeros_like(steps[0]), steps)[0]
