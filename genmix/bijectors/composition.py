"""Bijectors one after the other, and turned around."""

from collections.abc import Sequence
from typing import Any

from flax import nnx
from jaxtyping import PyTree

from genmix.bijectors.directions import (
    Event,
    HasForward,
    HasInverse,
    LogDet,
    Unrestricted,
    require_bijectors,
    restrict,
    restrict_to_parts,
)
from genmix.bijectors.initialization import initialize_and_invert


class Chain(nnx.Module):
    """The first part acts first on base events, the last part gives the data."""

    def __init__(self, parts: Sequence[Unrestricted]):
        self.parts = nnx.List(parts)

    def forward_and_log_det(self, x: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        first, *rest = self.parts
        x, log_det = first.forward_and_log_det(x, cond)
        for part in rest:
            x, change = part.forward_and_log_det(x, cond)
            log_det = log_det + change
        return x, log_det

    def inverse_and_log_det(self, y: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        *rest, last = self.parts
        y, log_det = last.inverse_and_log_det(y, cond)
        for part in reversed(rest):
            y, change = part.inverse_and_log_det(y, cond)
            log_det = log_det + change
        return y, log_det

    def initialized(self, batch: Event, cond: PyTree = None) -> "Chain":
        """Copy whose parts are initialized from the data side, each by what the later ones give."""
        parts = []
        for part in reversed(self.parts):
            part, batch = initialize_and_invert(part, batch, cond)
            parts.append(part)
        return Chain(parts[::-1])


class Inverse(nnx.Module):
    """A bijector with its directions exchanged."""

    def __init__(self, bijector: Unrestricted):
        self.bijector = bijector

    def forward_and_log_det(self, x: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        return self.bijector.inverse_and_log_det(x, cond)

    def inverse_and_log_det(self, y: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        return self.bijector.forward_and_log_det(y, cond)


def chain(parts: Sequence[Any]) -> Any:
    """Bijectors in the order in which base events pass them; all are given the same condition.

    It has the directions that all its parts have.

    Raises:
        ValueError: if there is no part.
        TypeError: if a part is no bijector, or no direction is left.
    """
    parts = list(parts)
    require_bijectors("chain", parts)
    return restrict_to_parts(Chain(parts), parts)


def inverse(bijector: Any) -> Any:
    """The bijector with base and data exchanged; it lacks the direction that the other lacks.

    Raises:
        TypeError: if it is no bijector.
    """
    require_bijectors("inverse", [bijector])
    return restrict(
        Inverse(bijector),
        forward=isinstance(bijector, HasInverse),
        inverse=isinstance(bijector, HasForward),
    )
