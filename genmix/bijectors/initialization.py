"""Parameters that start from a batch of data."""

from typing import Any

import jax
from jaxtyping import PyTree

from genmix.bijectors.directions import DataInitialized, Event, require_inverse


def initialize(bijector: Any, batch: Event, cond: PyTree = None) -> Any:
    """Copy of a bijector in which each `ActNorm` standardizes what a batch gives it.

    To be called once, before training: the result is made of parameters like any others, which
    checkpoints keep. What stands inside an `inverse` or an `amortized` is left as it is.

    Args:
        batch: data [n, ...event].
        cond: conditions of the n events, on a leading axis, or None.

    Raises:
        TypeError: if the bijector has no inverse, so that no data can be passed through it.
    """
    require_inverse(
        bijector, "initialize", "set the parameters of its parts by hand, or start them elsewhere."
    )
    return bijector.initialized(batch, cond) if isinstance(bijector, DataInitialized) else bijector


def initialize_and_invert(bijector: Any, batch: Event, cond: PyTree) -> tuple[Any, Event]:
    """The initialized bijector, and the batch as it hands it on towards the base."""
    bijector = initialize(bijector, batch, cond)
    invert = lambda y, c: bijector.inverse_and_log_det(y, c)[0]
    return bijector, jax.vmap(invert, (0, None if cond is None else 0))(batch, cond)
