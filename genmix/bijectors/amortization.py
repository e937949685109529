"""Bijectors whose parameters are a network's output."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, PyTree

from genmix.bijectors.directions import Event, LogDet, require_bijectors, restrict_to_parts


class Start(nnx.Variable):
    """Where an amortized parameter is when the network gives zero; not trained."""


def _is_variable(leaf: object) -> bool:
    return isinstance(leaf, nnx.Variable)


def _variables(bijector: object, kind: type[nnx.Variable]) -> list[nnx.Variable]:
    leaves = jax.tree.leaves(bijector, is_leaf=_is_variable)
    return [leaf for leaf in leaves if isinstance(leaf, kind)]


class Amortized(nnx.Module):
    """A bijector with parameters start + network(cond)."""

    def __init__(self, bijector: Any, network: Callable[[PyTree], Array]):
        to_start = lambda leaf: Start(leaf[...]) if isinstance(leaf, nnx.Param) else leaf
        self.bijector = jax.tree.map(to_start, bijector, is_leaf=_is_variable)
        self.network = network

    def given(self, cond: PyTree) -> Any:
        """The bijector at a condition."""
        raw = self.network(cond)
        starts = [v[...] for v in _variables(self.bijector, Start)]
        size = sum(start.size for start in starts)
        if raw.shape != (size,):
            raise ValueError(
                f"amortized needs a network with one output for each of the {size} parameters of "
                f"the bijector, got shape {raw.shape}; num_parameters(bijector) tells how many."
            )
        used = 0

        def parameter(leaf: object) -> object:
            nonlocal used
            if not isinstance(leaf, Start):
                return leaf
            start = leaf[...]
            piece = raw[used : used + start.size]
            used += start.size
            return nnx.Param(start + piece.reshape(start.shape))

        return jax.tree.map(parameter, self.bijector, is_leaf=_is_variable)

    def forward_and_log_det(self, x: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        return self.given(cond).forward_and_log_det(x, cond)

    def inverse_and_log_det(self, y: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        return self.given(cond).inverse_and_log_det(y, cond)


def num_parameters(bijector: object) -> int:
    """How many outputs the network of `amortized` must have for a bijector."""
    return sum(parameter[...].size for parameter in _variables(bijector, nnx.Param))


def amortized(bijector: Any, network: Callable[[PyTree], Array]) -> Any:
    """A bijector, or a chain of them, whose parameters depend on the condition.

    Each parameter is where the given bijector has it plus an output of the network, so that a
    network near zero leaves the bijector near its start. The start is not trained: the network's
    biases are. The bijector itself is given the condition too.

    Args:
        network: condition -> vector of `num_parameters(bijector)` entries.

    Raises:
        ValueError: if the bijector has no parameters.
        TypeError: if it is no bijector.

    Source: Rezende & Mohamed (2015), arXiv:1505.05770, section 4.2; van den Berg et al. (2018),
    arXiv:1803.05649.
    """
    require_bijectors("amortized", [bijector])
    if not _variables(bijector, nnx.Param):
        raise ValueError(f"amortized needs parameters, but {type(bijector).__name__} has none.")
    return restrict_to_parts(Amortized(bijector, network), [bijector])
