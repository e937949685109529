"""Markov chains of a part's own transitions."""

from collections.abc import Callable

import jax
from jaxtyping import Array, Key, PyTree

Step = Callable[[Key[Array, ""], PyTree], PyTree]
"""(key, x) -> x: such as `RestrictedBoltzmann.transition`."""


def end(key: Key[Array, ""], step: Step, start: PyTree, num_steps: int) -> PyTree:
    """Where a chain is after num_steps."""
    move = lambda i, x: step(jax.random.fold_in(key, i), x)
    return jax.lax.fori_loop(0, num_steps, move, start)


def require_steps(num_steps: int) -> None:
    """Check the length of a chain.

    Raises:
        ValueError: if num_steps < 1.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}.")
