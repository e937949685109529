"""A warm-up that starts again: the weight of the rate in cycles."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp


def cyclical(num_steps: int, *, cycles: int = 4, rising: float = 0.5) -> Callable[[Any], Any]:
    """Schedule of `Rate.beta`: in each cycle from 0 to 1 along a line, and then 1.

    With one cycle it is the usual warm-up.

    Args:
        num_steps: of all cycles; after them it is 1.
        rising: part of a cycle in which the weight rises.

    Raises:
        ValueError: if cycles is not in 1 .. num_steps, or rising not in (0, 1].

    Source: Fu et al. (2019), arXiv:1903.10145, equations 6 and 7; Bowman et al. (2016),
    arXiv:1511.06349, section 3.1, for one cycle.
    """
    if not 1 <= cycles <= num_steps:
        raise ValueError(f"cycles must be between 1 and num_steps, {num_steps}, got {cycles}.")
    if not 0 < rising <= 1:
        raise ValueError(f"rising must be above 0 and at most 1, got {rising}.")
    length = num_steps / cycles

    def beta(step: Any) -> Any:
        t = jnp.asarray(step, float)
        weight = jnp.minimum(jnp.mod(t, length) / (rising * length), 1.0)
        return jnp.where(t < num_steps, weight, 1.0)

    return beta
