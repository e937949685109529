"""Autoregressive flows: fast from the data (masked) or from the base (inverse)."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PyTree

from genmix.bijectors import fixed_point
from genmix.bijectors.directions import Event, LogDet, restrict
from genmix.bijectors.transformer import (
    InvertibleTransformer,
    Transformer,
    check_parameters,
    out_shape,
    require_transformer,
    told,
)


@runtime_checkable
class AutoregressiveNetwork(Protocol):
    """Gives each entry the parameters that the entries before it, and the condition, imply.

    What the condition and the weights alone decide is done in `given`, once for many sweeps.
    """

    def given(self, cond: PyTree) -> Callable[[Event], Float[Array, "..."]]: ...


class MaskedAutoregressive(nnx.Module):
    """y_i = f(x_i; network(y_1 ... y_i-1)): a density of y in one pass."""

    def __init__(self, network: Any, transformer: Any):
        self.network = network
        self.transformer = transformer

    @property
    def event_shape(self) -> tuple[int, ...] | None:
        return out_shape(self.network)

    def forward_and_log_det(self, x: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        parameters = _checked("masked_autoregressive", self.network.given(cond), self.transformer)
        forward = lambda y: self.transformer.forward_and_log_slope(x, parameters(y))
        y, log_slope = forward(fixed_point.solve(lambda y: forward(y)[0], jnp.zeros_like(x)))
        return y, jnp.sum(log_slope)

    def inverse_and_log_det(self, y: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        parameters = _checked("masked_autoregressive", self.network.given(cond), self.transformer)
        x, log_slope = self.transformer.inverse_and_log_slope(y, parameters(y))
        return x, jnp.sum(log_slope)


class InverseAutoregressive(nnx.Module):
    """y_i = f(x_i; network(x_1 ... x_i-1)): a draw of y, with its density, in one pass."""

    def __init__(self, network: Any, transformer: Any):
        self.network = network
        self.transformer = transformer

    @property
    def event_shape(self) -> tuple[int, ...] | None:
        return out_shape(self.network)

    def forward_and_log_det(self, x: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        parameters = _checked("inverse_autoregressive", self.network.given(cond), self.transformer)
        y, log_slope = self.transformer.forward_and_log_slope(x, parameters(x))
        return y, jnp.sum(log_slope)

    def inverse_and_log_det(self, y: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        parameters = _checked("inverse_autoregressive", self.network.given(cond), self.transformer)
        inverse = lambda x: self.transformer.inverse_and_log_slope(y, parameters(x))
        x, log_slope = inverse(fixed_point.solve(lambda x: inverse(x)[0], jnp.zeros_like(y)))
        return x, jnp.sum(log_slope)


def _require_network(owner: str, network: object) -> None:
    if not isinstance(network, AutoregressiveNetwork):
        raise TypeError(
            f"{owner} needs an autoregressive network, with given(cond) -> function of the event, "
            f"such as MADE; {type(network).__name__} is none."
        )


def _checked(owner: str, network: Callable[[Event], Array], transformer: Transformer) -> Callable:
    def parameters(x: Event) -> Array:
        out = network(x)
        check_parameters(owner, transformer, x, out)
        return out

    return parameters


def masked_autoregressive(network: Any, transformer: Any) -> Any:
    """MAF: y_i = f(x_i; network(y_1 ... y_i-1)), for densities: one pass from data to base.

    The other direction finds y by parallel sweeps, at most one for each entry. The next layer needs
    another order, for with the same in all the first entry is never more than f of a constant: give
    its network one, which costs nothing, or put a `Reverse` or a `Permutation` in between, which
    leaves the layers alike, for `repeated`.

    Args:
        network: autoregressive in the order of its choice, such as `MADE`, which is told how many
            outputs each entry needs; another one must have `transformer.num_parameters`.
        transformer: a `Transformer`; without a closed inverse the flow can only draw, and slowly:
            then turn an `inverse_autoregressive` one around with `inverse`, for a density in one
            pass.

    Raises:
        TypeError: if the network is not autoregressive by construction, or the transformer is none.

    Source: Papamakarios et al. (2017), arXiv:1705.07057, section 3.1.
    """
    _require_network("masked_autoregressive", network)
    require_transformer("masked_autoregressive", transformer)
    bijector = MaskedAutoregressive(told(network, transformer), transformer)
    return restrict(bijector, forward=True, inverse=isinstance(transformer, InvertibleTransformer))


def inverse_autoregressive(network: Any, transformer: Any) -> Any:
    """IAF: y_i = f(x_i; network(x_1 ... x_i-1)), for posteriors: one pass from base to data.

    With `Gate` it is Kingma's, with `DeepSigmoid` a neural autoregressive flow. The inverse, where
    the transformer has one, finds x by parallel sweeps, at most one for each entry. The order of
    the next layer wants changing, as in `masked_autoregressive`.

    Raises:
        TypeError: if the network is not autoregressive by construction, or the transformer is none.

    Source: Kingma et al. (2016), arXiv:1606.04934, section 3; Huang et al. (2018),
    arXiv:1804.00779.
    """
    _require_network("inverse_autoregressive", network)
    require_transformer("inverse_autoregressive", transformer)
    bijector = InverseAutoregressive(told(network, transformer), transformer)
    return restrict(bijector, forward=True, inverse=isinstance(transformer, InvertibleTransformer))
