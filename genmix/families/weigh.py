"""The log-weight of any part that has one."""

from typing import Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from genmix.bounds.log_weight import Draw, Terms
from genmix.capabilities import (
    Density,
    ExactDensity,
    LogBounded,
    Weighted,
    draw,
    one_number,
    require_bounded,
)


@runtime_checkable
class Layered(Protocol):
    """A weighted part with posteriors inside, each drawn from as `draw` says."""

    def log_weight_terms(
        self, key: Key[Array, ""], x: PyTree, cond: PyTree = None, draw: Draw = ...
    ) -> Terms: ...


@runtime_checkable
class MadeOfParts(Protocol):
    """A weighted part that tells whether one inside knows a bound alone: then so does it."""

    @property
    def is_bound(self) -> bool: ...


def is_bound(part: object) -> bool:
    """Whether what is called the part's log-weight has a bound as its mean, and nothing more."""
    if isinstance(part, MadeOfParts):
        return part.is_bound
    return isinstance(part, LogBounded) and not isinstance(part, (Weighted, ExactDensity))


def require_weights(part: object, what: str) -> None:
    """Check that weights of the part may be averaged.

    Raises:
        TypeError: if the part, or one inside, knows a bound on its log-density alone.
    """
    if is_bound(part):
        raise TypeError(
            f"{type(part).__name__} knows a bound on log p(x) alone (log_bound), or a part of it "
            f"does, and exp of a bound is no estimate of p(x): {what}, which averages weights, "
            "would bound nothing. Use the ELBO."
        )


def terms(
    part: Density, key: Key[Array, ""], x: PyTree, cond: PyTree = None, draw: Draw = draw
) -> Terms:
    """Terms of a part's log-weight at x, in nats; an exact density has one term and no noise.

    Of a part that knows a bound alone, those of the bound: good for means of them, as in the ELBO.

    Raises:
        TypeError: if the part has no density.
    """
    if isinstance(part, Layered):
        return part.log_weight_terms(key, x, cond, draw)
    require_bounded(part, "density of x")
    if isinstance(part, ExactDensity):
        value, method = part.log_prob(x, cond), "log_prob"
    elif isinstance(part, Weighted):
        value, method = part.log_weight(key, x, cond), "log_weight"
    else:
        value, method = part.log_bound(key, x, cond), "log_bound"
    value = one_number(value, part, method)
    return Terms(value, jnp.zeros(0, value.dtype), jnp.zeros(0, value.dtype))


def log_weight(
    part: Density, key: Key[Array, ""], x: PyTree, cond: PyTree = None
) -> Float[Array, ""]:
    """Log of an unbiased estimate of p(x | cond), in nats, for any part with a density.

    Raises:
        TypeError: if the part has none, or a bound alone.
    """
    require_weights(part, "its log-weight")
    return terms(part, key, x, cond).log_weight
