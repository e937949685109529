"""Which directions a bijector has: forward (base -> data), inverse (data -> base), or both.

A bijector maps one event and gives the log of the absolute determinant of its Jacobian, in nats, a
scalar. Batches are `jax.vmap`. What is not invertible in closed form lacks the method: nothing
raises at the call. Bijectors made of others are one class with both directions, and one of the two
wrappers below hides the direction that a part lacks; the functions that build them choose.
"""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from flax import nnx
from jaxtyping import Array, Float, PyTree

from genmix.capabilities import require_same

Event = Float[Array, "..."]
LogDet = Float[Array, ""]


@runtime_checkable
class HasForward(Protocol):
    """Maps base events to data, with log |det dy / dx| in nats."""

    def forward_and_log_det(self, x: Event, cond: PyTree = None) -> tuple[Event, LogDet]: ...


@runtime_checkable
class HasInverse(Protocol):
    """Maps data to base events, with log |det dx / dy| in nats."""

    def inverse_and_log_det(self, y: Event, cond: PyTree = None) -> tuple[Event, LogDet]: ...


@runtime_checkable
class Wraps(Protocol):
    """A bijector that maps as another one does, or the other way round."""

    bijector: "HasForward | HasInverse"


@runtime_checkable
class MadeOfParts(Protocol):
    """Bijectors one after the other, the first one next to the base."""

    parts: "Sequence[HasForward | HasInverse]"


@runtime_checkable
class KeepsShape(Protocol):
    """Maps events to events of the same shape, which it may know; None if several will do."""

    @property
    def event_shape(self) -> tuple[int, ...] | None: ...


def keeps_shape(bijector: object) -> bool:
    """Whether a bijector says that it maps events to events of the same shape."""
    if isinstance(bijector, KeepsShape):
        return True
    if isinstance(bijector, MadeOfParts):
        return all(keeps_shape(part) for part in bijector.parts)
    return isinstance(bijector, Wraps) and keeps_shape(bijector.bijector)


def event_shape(bijector: object) -> tuple[int, ...] | None:
    """Shape of the base events of a bijector; None if it does not know.

    Raises:
        ValueError: if the parts of a chain do not agree on it.
    """
    if isinstance(bijector, KeepsShape):
        return bijector.event_shape
    if isinstance(bijector, MadeOfParts):
        first = list(itertools.takewhile(keeps_shape, bijector.parts))
        known = {f"part {i}": event_shape(part) for i, part in enumerate(first)}
        require_same("a chain", "the event", known)
        return next((shape for shape in known.values() if shape is not None), None)
    if isinstance(bijector, Wraps) and keeps_shape(bijector):
        return event_shape(bijector.bijector)
    return None


@runtime_checkable
class HasBoth(HasForward, HasInverse, Protocol):
    """A bijector with both directions."""


if TYPE_CHECKING:
    Bijector = HasForward | HasInverse
    Unrestricted = HasBoth
else:  # refused in words of their own; `restrict` hides a direction that a part lacks
    Bijector = Unrestricted = Any


class ForwardOnly(nnx.Module):
    """A bijector seen from its base: for posteriors and generators."""

    def __init__(self, bijector: HasForward):
        self.bijector = bijector

    def forward_and_log_det(self, x: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        return self.bijector.forward_and_log_det(x, cond)


class InverseOnly(nnx.Module):
    """A bijector seen from the data: for densities."""

    def __init__(self, bijector: HasInverse):
        self.bijector = bijector

    def inverse_and_log_det(self, y: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        return self.bijector.inverse_and_log_det(y, cond)

    def initialized(self, batch: Event, cond: PyTree = None) -> "InverseOnly":
        if not isinstance(self.bijector, DataInitialized):
            return self
        return InverseOnly(self.bijector.initialized(batch, cond))


@runtime_checkable
class DataInitialized(Protocol):
    """Can return a copy of itself, of the same type, whose start suits a batch of data."""

    def initialized(self, batch: Event, cond: PyTree = None) -> Any: ...


def name(bijector: object) -> str:
    """What to call a bijector in an error."""
    if isinstance(bijector, (ForwardOnly, InverseOnly)):
        return name(bijector.bijector)
    return type(bijector).__name__


def check_event(bijector: object, event: Event, shape: tuple[int, ...]) -> None:
    """Check that a bijector is given an event of the one shape that it maps.

    Raises:
        ValueError: naming the bijector and both shapes.
    """
    if event.shape != shape:
        raise ValueError(
            f"{type(bijector).__name__} maps events of shape {shape}, got {event.shape}: batches "
            "are jax.vmap."
        )


def restrict(bijector: Any, *, forward: bool, inverse: bool) -> Any:
    """The bijector without the directions that it cannot have.

    Raises:
        TypeError: if none is left.
    """
    if forward and inverse:
        return bijector
    if forward:
        return ForwardOnly(bijector)
    if inverse:
        return InverseOnly(bijector)
    raise TypeError(
        f"{name(bijector)} has no direction: some of its parts lack the forward map, others the "
        "inverse. Turn some around with inverse(bijector)."
    )


def require_bijectors(owner: str, parts: Sequence[object]) -> None:
    """Check that every part maps events in some direction.

    Raises:
        ValueError: if there is no part.
        TypeError: naming what is no bijector.
    """
    if not parts:
        raise ValueError(f"{owner} needs at least one bijector, got none.")
    for part in parts:
        if not isinstance(part, (HasForward, HasInverse)):
            raise TypeError(
                f"{owner} is made of bijectors, but {type(part).__name__} has neither "
                "forward_and_log_det nor inverse_and_log_det."
            )


def restrict_to_parts(bijector: Any, parts: Sequence[object]) -> Any:
    """The bijector with the directions that all its parts have.

    Raises:
        TypeError: if there is none.
    """
    return restrict(
        bijector,
        forward=all(isinstance(part, HasForward) for part in parts),
        inverse=all(isinstance(part, HasInverse) for part in parts),
    )


def require_forward(bijector: object, owner: str, remedy: str) -> None:
    """Check that a bijector maps base events to data.

    Raises:
        TypeError: naming the bijector and the remedy.
    """
    if not isinstance(bijector, HasForward):
        raise TypeError(
            f"{owner} maps base events to data, but {name(bijector)} has no forward_and_log_det: "
            f"{remedy}"
        )


def require_inverse(bijector: object, owner: str, remedy: str) -> None:
    """Check that a bijector maps data to base events.

    Raises:
        TypeError: naming the bijector and the remedy.
    """
    if not isinstance(bijector, HasInverse):
        raise TypeError(
            f"{owner} maps data to base events, but {name(bijector)} has no closed inverse (no "
            f"inverse_and_log_det): {remedy}"
        )
