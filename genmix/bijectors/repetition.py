"""Layers of one structure, compiled once."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import PyTree

from genmix.bijectors.directions import Event, LogDet, require_bijectors, restrict_to_parts
from genmix.bijectors.initialization import initialize_and_invert


class Repeated(nnx.Module):
    """Layers whose parameters are stacked on a leading axis, run by `jax.lax.scan`."""

    def __init__(self, layers: Any, num_layers: int, unroll: int):
        self.layers = layers
        self.num_layers = num_layers
        self.unroll = unroll

    def forward_and_log_det(self, x: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        def step(carry: tuple, layer: Any) -> tuple[tuple, None]:
            y, change = layer.forward_and_log_det(carry[0], cond)
            return (y, carry[1] + change), None

        start = (x, jnp.zeros((), x.dtype))
        return jax.lax.scan(step, start, self.layers, unroll=self.unroll)[0]

    def inverse_and_log_det(self, y: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        def step(carry: tuple, layer: Any) -> tuple[tuple, None]:
            x, change = layer.inverse_and_log_det(carry[0], cond)
            return (x, carry[1] + change), None

        start = (y, jnp.zeros((), y.dtype))
        return jax.lax.scan(step, start, self.layers, unroll=self.unroll, reverse=True)[0]

    def initialized(self, batch: Event, cond: PyTree = None) -> "Repeated":
        """Copy whose layers are initialized from the data side, the last one first."""
        layers = []
        for i in reversed(range(self.num_layers)):
            layer = jax.tree.map(lambda leaf, i=i: leaf[i], self.layers)
            layer, batch = initialize_and_invert(layer, batch, cond)
            layers.append(layer)
        return Repeated(_stack(layers[::-1]), self.num_layers, self.unroll)


def _structure(layer: Any) -> tuple:
    leaves, tree = jax.tree.flatten(layer)
    return tree, [(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves]


def _stack(layers: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)


def repeated(layers: Sequence[Any], *, unroll: int = 1) -> Any:
    """A chain of layers of the same structure that compiles about as fast as one of them.

    Layers that differ in more than their parameters' values, such as in the order of a permutation,
    are not of the same structure: put a whole period, say a coupling and a reversal, in one layer.

    Args:
        unroll: layers per step of the loop: a longer compilation for, often, a faster run.

    Raises:
        ValueError: if there is no layer, unroll < 1, or the structures differ.
        TypeError: if a layer is no bijector.
    """
    layers = list(layers)
    require_bijectors("repeated", layers)
    if unroll < 1:
        raise ValueError(f"unroll must be at least 1, got {unroll}.")
    for i, layer in enumerate(layers):
        if _structure(layer) != _structure(layers[0]):
            raise ValueError(
                f"repeated needs layers of one structure, but layer {i} differs from layer 0 in "
                "more than its parameters' values: use chain."
            )
    return restrict_to_parts(Repeated(_stack(layers), len(layers), unroll), layers)
