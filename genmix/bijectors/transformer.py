"""Increasing functions of one number with parameters, for couplings and autoregressive flows.

In the words of Papamakarios et al. (2021), arXiv:1912.02762, a flow's *conditioner* computes the
parameters from other entries, and its *transformer* maps each entry by them. All of them here are
the identity at parameters of zero, but `Gate`.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Protocol, TypeVar, runtime_checkable

import jax.numpy as jnp
from jax.nn import sigmoid
from jaxtyping import Array, Float

from genmix.densities.logistic import softplus

Event = Float[Array, "*event"]
Parameters = Float[Array, "*event parameters"]

MIN_SCALE = 1e-3
N = TypeVar("N")


@runtime_checkable
class Transformer(Protocol):
    """y = f(x; parameters) for each entry, with log dy / dx in nats, entry by entry."""

    @property
    def num_parameters(self) -> int: ...

    def forward_and_log_slope(self, x: Event, parameters: Parameters) -> tuple[Event, Event]: ...


@runtime_checkable
class InvertibleTransformer(Transformer, Protocol):
    """A transformer with a closed inverse; it gives log dx / dy, in nats, entry by entry."""

    def inverse_and_log_slope(self, y: Event, parameters: Parameters) -> tuple[Event, Event]: ...


def softplus_scale(raw: Float[Array, "*d"]) -> tuple[Float[Array, "*d"], Float[Array, "*d"]]:
    """1e-3 + softplus(raw + constant), which is 1 at raw = 0 and never below 1e-3; its log."""
    scale = MIN_SCALE + softplus(raw + math.log(math.expm1(1 - MIN_SCALE)))
    return scale, jnp.log(scale)


def exponential_scale(raw: Float[Array, "*d"]) -> tuple[Float[Array, "*d"], Float[Array, "*d"]]:
    """The scale exp(raw), and its log."""
    return jnp.exp(raw), raw


def bounded_scale(raw: Float[Array, "*d"]) -> tuple[Float[Array, "*d"], Float[Array, "*d"]]:
    """The scale exp(2 tanh(raw / 2)), between e^-2 and e^2, and its log.

    Deep flows of images need a bound on both sides: a small scale is a large one of the inverse.

    Source: Dinh et al. (2017), arXiv:1605.08803, section 4.1 (the hyperbolic tangent).
    """
    log_scale = 2 * jnp.tanh(raw / 2)
    return jnp.exp(log_scale), log_scale


@dataclasses.dataclass(frozen=True)
class Shift:
    """y = x + shift, which preserves volume."""

    @property
    def num_parameters(self) -> int:
        return 1

    def forward_and_log_slope(self, x: Event, parameters: Parameters) -> tuple[Event, Event]:
        return x + parameters[..., 0], jnp.zeros_like(x)

    def inverse_and_log_slope(self, y: Event, parameters: Parameters) -> tuple[Event, Event]:
        return y - parameters[..., 0], jnp.zeros_like(y)


@dataclasses.dataclass(frozen=True)
class ShiftScale:
    """y = shift + scale x, with parameters (shift, raw scale).

    Attributes:
        scale_fn: raw scale -> scale, and its log, elementwise.
    """

    scale_fn: Callable[[Array], tuple[Array, Array]] = softplus_scale

    @property
    def num_parameters(self) -> int:
        return 2

    def forward_and_log_slope(self, x: Event, parameters: Parameters) -> tuple[Event, Event]:
        shift, raw = _columns(parameters)
        scale, log_scale = self.scale_fn(raw)
        return shift + scale * x, log_scale

    def inverse_and_log_slope(self, y: Event, parameters: Parameters) -> tuple[Event, Event]:
        shift, raw = _columns(parameters)
        scale, log_scale = self.scale_fn(raw)
        return (y - shift) / scale, -log_scale


@dataclasses.dataclass(frozen=True)
class Gate:
    """y = g x + (1 - g) m with g = sigmoid(raw + bias), and parameters (m, raw).

    The scale is below 1, so layers of it in an inverse autoregressive flow are stable.

    Attributes:
        bias: keeps the gate open at first; the paper has 1 to 2.

    Source: Kingma et al. (2016), arXiv:1606.04934, algorithm 1.
    """

    bias: float = 2.0

    @property
    def num_parameters(self) -> int:
        return 2

    def forward_and_log_slope(self, x: Event, parameters: Parameters) -> tuple[Event, Event]:
        m, raw = _columns(parameters)
        raw = raw + self.bias
        return sigmoid(raw) * x + sigmoid(-raw) * m, -softplus(-raw)

    def inverse_and_log_slope(self, y: Event, parameters: Parameters) -> tuple[Event, Event]:
        m, raw = _columns(parameters)
        log_slope = softplus(-raw - self.bias)
        return m + (y - m) * jnp.exp(log_slope), log_slope


def _columns(parameters: Array) -> list[Array]:
    """The parameters one by one: a split, whose gradient is one concatenation."""
    columns = jnp.split(jnp.moveaxis(parameters, -1, 0), parameters.shape[-1])
    return [jnp.squeeze(column, 0) for column in columns]


@runtime_checkable
class SizedNetwork(Protocol):
    """A network that can be told how many numbers to give for each entry (`nets.outputs`)."""

    @property
    def out_shape(self) -> tuple[int, ...]: ...
    @property
    def num_outputs(self) -> int | None: ...
    def with_outputs(self: N, shape: tuple[int, ...], num_outputs: int) -> N: ...


def out_shape(network: object) -> tuple[int, ...] | None:
    """Shape of the entries that a network gives numbers for; None if it does not say."""
    return network.out_shape if isinstance(network, SizedNetwork) else None


def told(network: N, transformer: Transformer) -> N:
    """The network of as many outputs as the transformer has parameters, if it can be told.

    One without an axis for them gives them by itself, on the last axis, unless it is of vectors.
    """
    if not isinstance(network, SizedNetwork):
        return network
    if network.num_outputs is None and len(network.out_shape) != 1:
        return network
    return network.with_outputs(network.out_shape, transformer.num_parameters)


def require_transformer(owner: str, transformer: object) -> None:
    """Check that something maps single entries by parameters.

    Raises:
        TypeError: naming what does not.
    """
    if not isinstance(transformer, Transformer):
        raise TypeError(
            f"{owner} needs a transformer, with num_parameters and forward_and_log_slope, such as "
            f"ShiftScale(); {type(transformer).__name__} is none."
        )


def check_parameters(owner: str, transformer: Transformer, x: Array, parameters: Array) -> None:
    """Check that a conditioner gives each entry its parameters.

    Raises:
        ValueError: if it does not.
    """
    expected = (*x.shape, transformer.num_parameters)
    if parameters.shape != expected:
        raise ValueError(
            f"{owner}'s network must give {type(transformer).__name__} "
            f"{transformer.num_parameters} numbers for each of the entries {x.shape}, so shape "
            f"{expected}, got {parameters.shape}."
        )
