"""The shapes that parts know before they are used: what cannot fit is refused when it is built."""

from typing import Protocol, runtime_checkable

from genmix.capabilities import Proposes

Shape = tuple[int, ...]


@runtime_checkable
class KnowsEvent(Protocol):
    """Knows the shape of its event, one array; None if this one does not."""

    @property
    def event_shape(self) -> Shape | None: ...


@runtime_checkable
class KnowsCondition(Protocol):
    """Knows the shape of its condition, one array; None if this one does not, or has none."""

    @property
    def cond_shape(self) -> Shape | None: ...


@runtime_checkable
class WrapsProposal(Proposes, Protocol):
    """Proposes what another part draws, moved or chosen."""

    @property
    def proposal(self) -> object: ...


def event_shape(part: object) -> Shape | None:
    """Shape of the array that a part draws or weighs; None if it does not say."""
    if isinstance(part, KnowsEvent):
        return _checked(part.event_shape)
    return event_shape(part.proposal) if isinstance(part, WrapsProposal) else None


def cond_shape(part: object) -> Shape | None:
    """Shape of the array that a part's condition must be; None if it does not say."""
    if isinstance(part, KnowsCondition):
        return _checked(part.cond_shape)
    return cond_shape(part.proposal) if isinstance(part, WrapsProposal) else None


def _checked(shape: object) -> Shape | None:
    # Distributions of other libraries have shapes of their own kinds, and batches beside events.
    if not isinstance(shape, tuple) or not all(isinstance(side, int) for side in shape):
        return None
    return tuple(shape)
