"""Normalizing flows as parts: a base distribution seen through a bijector.

What a flow can do follows from what its base and its bijector can do. A capability is the presence
of a method, so there is one small final class for each set of methods, and `transformed` picks the
one with the most of them. (One class whose methods raise would claim capabilities that it lacks.)

| class | log_prob | sample | sample_and_log_prob | base has | bijector has |
|---|---|---|---|---|---|
| `Flow` | yes | yes | yes | all three | both directions |
| `FlowPosterior` | | yes | yes | sample_and_log_prob | forward |
| `FlowDensity` | yes | | | log_prob | inverse |
| `SampledFlow` | yes | yes | | log_prob and sample | both directions |

All log-densities are in nats. Base and bijector are given the same condition: the flow's own or,
where there is an encoder, what the encoder makes of it, computed once.

Source: Rezende & Mohamed (2015), arXiv:1505.05770; Papamakarios et al. (2021), arXiv:1912.02762.
"""

from collections.abc import Callable
from typing import Any

from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.bijectors import directions
from genmix.bijectors.directions import (
    HasForward,
    HasInverse,
    name,
    require_forward,
    require_inverse,
)
from genmix.capabilities import ExactDensity, Reparameterized, Samples, require_same
from genmix.families import shapes
from genmix.nets import outputs

Event = Float[Array, "..."]
LogProb = Float[Array, ""]
Encoder = Callable[[PyTree], PyTree]

_USE_POSTERIOR = (
    "as a posterior it needs none (FlowPosterior); a density needs a bijector with an inverse."
)
_USE_DENSITY = "a density needs none (FlowDensity); to draw, turn it around with inverse(bijector)."


class Flow(nnx.Module):
    """A flow with everything: a density, a sampler, a reparameterized posterior.

    Raises:
        TypeError: if base or bijector lacks what one of the methods needs; it names the remedy.
    """

    def __init__(self, base: Any, bijector: Any, *, encoder: Encoder | None = None):
        require_forward(bijector, "Flow", _USE_DENSITY)
        require_inverse(bijector, "Flow", _USE_POSTERIOR)
        _require_base("Flow", base, ExactDensity, Samples, Reparameterized)
        _require_fit(base, bijector)
        self.base, self.bijector, self.encoder = base, bijector, encoder

    @property
    def event_shape(self) -> tuple[int, ...] | None:
        return _event_shape(self)

    @property
    def cond_shape(self) -> tuple[int, ...] | None:
        return _cond_shape(self)

    def log_prob(self, x: Event, cond: PyTree = None) -> LogProb:
        return _log_prob(self, x, cond)

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Event:
        return _sample(self, key, cond)

    def sample_and_log_prob(
        self, key: Key[Array, ""], cond: PyTree = None
    ) -> tuple[Event, LogProb]:
        return _sample_and_log_prob(self, key, cond)


class FlowPosterior(nnx.Module):
    """A flow that knows the density of what it draws, and of nothing else.

    Raises:
        TypeError: if base or bijector lacks what one of the methods needs; it names the remedy.
    """

    def __init__(self, base: Any, bijector: Any, *, encoder: Encoder | None = None):
        require_forward(bijector, "FlowPosterior", _USE_DENSITY)
        _require_base("FlowPosterior", base, Reparameterized)
        _require_fit(base, bijector)
        self.base, self.bijector, self.encoder = base, bijector, encoder

    @property
    def event_shape(self) -> tuple[int, ...] | None:
        return _event_shape(self)

    @property
    def cond_shape(self) -> tuple[int, ...] | None:
        return _cond_shape(self)

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Event:
        return self.sample_and_log_prob(key, cond)[0]

    def sample_and_log_prob(
        self, key: Key[Array, ""], cond: PyTree = None
    ) -> tuple[Event, LogProb]:
        return _sample_and_log_prob(self, key, cond)


class FlowDensity(nnx.Module):
    """A flow that can be evaluated, but not drawn from.

    Raises:
        TypeError: if base or bijector lacks what the method needs; it names the remedy.
    """

    def __init__(self, base: Any, bijector: Any, *, encoder: Encoder | None = None):
        require_inverse(bijector, "FlowDensity", _USE_POSTERIOR)
        _require_base("FlowDensity", base, ExactDensity)
        _require_fit(base, bijector)
        self.base, self.bijector, self.encoder = base, bijector, encoder

    @property
    def event_shape(self) -> tuple[int, ...] | None:
        return _event_shape(self)

    @property
    def cond_shape(self) -> tuple[int, ...] | None:
        return _cond_shape(self)

    def log_prob(self, x: Event, cond: PyTree = None) -> LogProb:
        return _log_prob(self, x, cond)


class SampledFlow(nnx.Module):
    """A density and a sampler whose draws are not reparameterized, as on a mixture for a base.

    Raises:
        TypeError: if base or bijector lacks what one of the methods needs; it names the remedy.
    """

    def __init__(self, base: Any, bijector: Any, *, encoder: Encoder | None = None):
        require_forward(bijector, "SampledFlow", _USE_DENSITY)
        require_inverse(bijector, "SampledFlow", _USE_POSTERIOR)
        _require_base("SampledFlow", base, ExactDensity, Samples)
        _require_fit(base, bijector)
        self.base, self.bijector, self.encoder = base, bijector, encoder

    @property
    def event_shape(self) -> tuple[int, ...] | None:
        return _event_shape(self)

    @property
    def cond_shape(self) -> tuple[int, ...] | None:
        return _cond_shape(self)

    def log_prob(self, x: Event, cond: PyTree = None) -> LogProb:
        return _log_prob(self, x, cond)

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Event:
        return _sample(self, key, cond)


def transformed(base: Any, bijector: Any, *, encoder: Encoder | None = None) -> Any:
    """x = bijector(z) with z ~ base, with every method that the two allow.

    The result is one of the four classes of this file.

    Args:
        base: a part, such as `StandardNormal`, or `Normal` for a posterior.
        bijector: forward runs from z to x.
        encoder: condition -> what base and bijector are given as theirs.

    Raises:
        TypeError: if there is no method that they allow.
    """
    forward, inverse = isinstance(bijector, HasForward), isinstance(bijector, HasInverse)
    exact, samples = isinstance(base, ExactDensity), isinstance(base, Samples)
    if forward and inverse and exact and samples:
        kind = Flow if isinstance(base, Reparameterized) else SampledFlow
    elif forward and isinstance(base, Reparameterized):
        kind = FlowPosterior
    elif inverse and exact:
        kind = FlowDensity
    else:
        raise TypeError(
            f"{type(base).__name__} and {name(bijector)} make no flow: a density needs a base with "
            "log_prob and a bijector with inverse_and_log_det, a posterior needs a base with "
            "sample_and_log_prob and a bijector with forward_and_log_det."
        )
    return kind(base, bijector, encoder=encoder)


def _require_base(owner: str, base: object, *capabilities: type) -> None:
    methods = {
        ExactDensity: "log_prob",
        Samples: "sample",
        Reparameterized: "sample_and_log_prob",
    }
    missing = [methods[c] for c in capabilities if not isinstance(base, c)]
    if missing:
        raise TypeError(
            f"{owner} needs a base with {' and '.join(missing)}, which {type(base).__name__} "
            "lacks: transformed(base, bijector) builds the flow that it allows."
        )


def _require_fit(base: object, bijector: object) -> None:
    """Check that base and bijector agree on the shape of base events, if both know it."""
    known = {"the base": shapes.event_shape(base), "the bijector": directions.event_shape(bijector)}
    require_same("a flow", "the base's event", known)


def _event_shape(flow: Any) -> tuple[int, ...] | None:
    if not directions.keeps_shape(flow.bijector):
        return None
    shape = shapes.event_shape(flow.base)
    return directions.event_shape(flow.bijector) if shape is None else shape


def _cond_shape(flow: Any) -> tuple[int, ...] | None:
    if flow.encoder is not None:
        return outputs.in_shape(flow.encoder)
    return shapes.cond_shape(flow.base)


def _given(flow: Any, cond: PyTree) -> PyTree:
    return cond if flow.encoder is None else flow.encoder(cond)


def _log_prob(flow: Any, x: Event, cond: PyTree) -> LogProb:
    given = _given(flow, cond)
    z, log_det = flow.bijector.inverse_and_log_det(x, given)
    return flow.base.log_prob(z, given) + log_det


def _sample(flow: Any, key: Key[Array, ""], cond: PyTree) -> Event:
    given = _given(flow, cond)
    return flow.bijector.forward_and_log_det(flow.base.sample(key, given), given)[0]


def _sample_and_log_prob(flow: Any, key: Key[Array, ""], cond: PyTree) -> tuple[Event, LogProb]:
    given = _given(flow, cond)
    z, log_prob = flow.base.sample_and_log_prob(key, given)
    x, log_det = flow.bijector.forward_and_log_det(z, given)
    return x, log_prob - log_det
