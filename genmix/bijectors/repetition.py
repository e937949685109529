"""Layers of one structure, compiled once."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import PyTree

from genmix.bijectors.directions import (
    Event,
    LogDet,
    Unrestricted,
    require_bijectors,
    restrict_to_parts,
)
from genmix.bijectors.initialization import initialize_and_invert


class Repeated(nnx.Module):
    """Layers run by `jax.lax.scan`, a few of them in each step.

    The i-th of `steps` holds the parameters of the i-th layer of all steps, stacked.
    """

    def __init__(self, steps: Sequence[Unrestricted], num_steps: int):
        self.steps = nnx.List(steps)
        self.num_steps = num_steps

    @property
    def event_shape(self) -> None:
        return None

    def forward_and_log_det(self, x: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        return self._scan(
            lambda layer, x: layer.forward_and_log_det(x, cond), x, list(self.steps), False
        )

    def inverse_and_log_det(self, y: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        return self._scan(
            lambda layer, y: layer.inverse_and_log_det(y, cond), y, list(self.steps)[::-1], True
        )

    def _scan(
        self, apply: Callable, event: Event, layers: list[Unrestricted], reverse: bool
    ) -> tuple[Event, LogDet]:
        def step(carry: tuple, layers: list[Unrestricted]) -> tuple[tuple, None]:
            event, log_det = carry
            for layer in layers:
                event, change = apply(layer, event)
                log_det = log_det + change
            return (event, log_det), None

        # All layers promote an event alike, such as one of bfloat16 by parameters of float32.
        first = lambda layer, event: apply(jax.tree.map(lambda leaf: leaf[0], layer), event)
        after, change = jax.eval_shape(first, layers[0], event)
        log_det = jnp.zeros((), jnp.result_type(after.dtype, change.dtype))
        start = (event.astype(after.dtype), log_det)
        once = self.num_steps == 1
        return jax.lax.scan(step, start, layers, reverse=reverse, unroll=once or 1)[0]

    def initialized(self, batch: Event, cond: PyTree = None) -> "Repeated":
        """Copy whose layers are initialized from the data side, the last one first."""
        layers = []
        for step in reversed(range(self.num_steps)):
            for stacked in reversed(self.steps):
                layer = jax.tree.map(lambda leaf, step=step: leaf[step], stacked)
                layer, batch = initialize_and_invert(layer, batch, cond)
                layers.append(layer)
        return _stacked(layers[::-1], len(self.steps))


def _stacked(layers: Sequence[Unrestricted], period: int) -> Repeated:
    stack = lambda layers: jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)
    return Repeated([stack(layers[i::period]) for i in range(period)], len(layers) // period)


def _structure(layer: object) -> tuple:
    leaves, tree = jax.tree.flatten(layer)
    return tree, [(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves]


def repeated(layers: Sequence[Any], *, unroll: int | None = None) -> Any:
    """A chain of layers of the same structure that compiles about as fast as a few of them.

    Layers that differ in more than their parameters' values, such as in the order of a permutation,
    are not of the same structure: put a whole period, say a coupling and a reversal, in one layer.

    Args:
        unroll: layers in each step of the loop, at most: the largest divisor of their number up to
            it. More of them compile longer, and run faster up to a point. By default all are in one
            step if they are no more than eight, which makes no loop; else four.

    Raises:
        ValueError: if there is no layer, unroll < 1, or the structures differ.
        TypeError: if a layer is no bijector.
    """
    layers = list(layers)
    require_bijectors("repeated", layers)
    if unroll is None:
        unroll = 8 if len(layers) <= 8 else 4
    if unroll < 1:
        raise ValueError(f"unroll must be at least 1, got {unroll}.")
    for i, layer in enumerate(layers):
        if _structure(layer) != _structure(layers[0]):
            raise ValueError(
                f"repeated needs layers of one structure, but layer {i} differs from layer 0 in "
                "more than its parameters' values: use chain."
            )
    period = max(k for k in range(1, unroll + 1) if len(layers) % k == 0)
    return restrict_to_parts(_stacked(layers, period), layers)
