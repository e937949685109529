"""Coupling: some entries stay and decide how the others are transformed."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, PyTree

from genmix.bijectors.directions import Event, LogDet, restrict
from genmix.bijectors.transformer import (
    InvertibleTransformer,
    check_parameters,
    require_transformer,
    told,
)


class Coupling(nnx.Module):
    """The first `split` entries of the last axis stay, the rest are transformed given them."""

    def __init__(
        self, network: Callable[[Array], Array], transformer: Any, split: int, cond_size: int
    ):
        self.network = network
        self.transformer = transformer
        self.split = split
        self.cond_size = cond_size

    @property
    def event_shape(self) -> None:
        return None

    def forward_and_log_det(self, x: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        kept, moved, parameters = self._parts(x, cond)
        moved, log_slope = self.transformer.forward_and_log_slope(moved, parameters)
        return jnp.concatenate([kept, moved], axis=-1), jnp.sum(log_slope)

    def inverse_and_log_det(self, y: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        kept, moved, parameters = self._parts(y, cond)
        moved, log_slope = self.transformer.inverse_and_log_slope(moved, parameters)
        return jnp.concatenate([kept, moved], axis=-1), jnp.sum(log_slope)

    def _parts(self, event: Event, cond: PyTree) -> tuple[Event, Event, Array]:
        if not event.ndim or event.shape[-1] <= self.split:
            raise ValueError(
                f"coupling keeps {self.split} entries of the last axis and transforms the rest, so "
                f"it needs more than {self.split} there, got an event of shape {event.shape}."
            )
        kept, moved = jnp.split(event, [self.split], axis=-1)
        parameters = self.network(self._with_cond(kept, cond))
        check_parameters("coupling", self.transformer, moved, parameters)
        return kept, moved, parameters

    def _with_cond(self, kept: Event, cond: PyTree) -> Event:
        if not self.cond_size:
            return kept
        expected = (*kept.shape[:-1], self.cond_size)
        shape = getattr(cond, "shape", None)
        if shape != expected:
            got = type(cond).__name__ if shape is None else shape
            raise ValueError(f"coupling needs a cond of shape {expected}, got {got}.")
        return jnp.concatenate([kept, cond], axis=-1)


def coupling_layer(
    network: Callable[[Array], Array], transformer: Any, *, split: int, cond_size: int = 0
) -> Any:
    """Coupling layer on vectors or, along the channels, on images; both directions in one pass.

    With `Shift` it is NICE's, with `ShiftScale` RealNVP's and Glow's, with `RationalQuadratic` a
    neural spline. Entries that stay must move in the next layer: put a `Reverse`, a `Permutation`
    or an `InvertibleConvolution` in between.

    Args:
        network: the entries that stay, followed on the last axis by the condition if cond_size > 0,
            -> array [..., entries transformed, transformer.num_parameters]; on vectors such as
            `MLP(split + cond_size, hidden, entries)`, which is told the last of these.
        transformer: a `Transformer`; without a closed inverse, the layer has none either.
        split: how many entries of the last axis stay.
        cond_size: length of the condition's last axis; 0 ignores the condition.

    Raises:
        ValueError: if split < 1 or cond_size < 0.
        TypeError: if the transformer is none.

    Source: Dinh et al. (2015), arXiv:1410.8516, section 3.2; Dinh et al. (2017), arXiv:1605.08803,
    section 3.2.
    """
    if split < 1 or cond_size < 0:
        raise ValueError(
            f"coupling needs split >= 1 and cond_size >= 0, got {split} and {cond_size}."
        )
    require_transformer("coupling", transformer)
    return restrict(
        Coupling(told(network, transformer), transformer, split, cond_size),
        forward=True,
        inverse=isinstance(transformer, InvertibleTransformer),
    )
