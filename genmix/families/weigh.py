"""The log-weight of any part that has one."""

from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from genmix.bounds.log_weight import Draw, Terms
from genmix.capabilities import ExactDensity, draw, one_number, require_weighted


@runtime_checkable
class Layered(Protocol):
    """A weighted part with posteriors inside, each drawn from as `draw` says."""

    def log_weight_terms(
        self, key: Key[Array, ""], x: PyTree, cond: PyTree = None, draw: Draw = ...
    ) -> Terms: ...


def terms(
    part: Any, key: Key[Array, ""], x: PyTree, cond: PyTree = None, draw: Draw = draw
) -> Terms:
    """Terms of a part's log-weight at x, in nats; an exact density has one term and no noise.

    Raises:
        TypeError: if the part has no density.
    """
    if isinstance(part, Layered):
        return part.log_weight_terms(key, x, cond, draw)
    require_weighted(part, "density of x")
    exact = isinstance(part, ExactDensity)
    value = part.log_prob(x, cond) if exact else part.log_weight(key, x, cond)
    value = one_number(value, part, "log_prob" if exact else "log_weight")
    return Terms(value, jnp.zeros(0, value.dtype), jnp.zeros(0, value.dtype))


def log_weight(part: Any, key: Key[Array, ""], x: PyTree, cond: PyTree = None) -> Float[Array, ""]:
    """Log of an unbiased estimate of p(x | cond), in nats, for any part with a density."""
    return terms(part, key, x, cond).log_weight
