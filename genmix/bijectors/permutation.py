"""Reordering of the entries along the last axis."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import PyTree

from genmix.bijectors.directions import Event, LogDet


class Permutation(nnx.Module):
    """y[..., i] = x[..., order[i]]: entries of a vector, or channels of an image.

    A cyclic shift, such as the exchange of two halves, costs almost nothing, less than `Reverse`.
    """

    def __init__(self, order: Sequence[int]):
        self.order = tuple(int(i) for i in order)
        if not self.order or sorted(self.order) != list(range(len(self.order))):
            raise ValueError(f"order must hold 0, 1, ..., n - 1 once each, got {self.order}.")

    @property
    def event_shape(self) -> None:
        return None

    def forward_and_log_det(self, x: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        del cond
        return self._take("x", x, np.asarray(self.order))

    def inverse_and_log_det(self, y: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        del cond
        return self._take("y", y, np.argsort(self.order))

    def _take(self, name: str, x: Event, order: np.ndarray) -> tuple[Event, LogDet]:
        if not x.ndim or x.shape[-1] != len(order):
            raise ValueError(
                f"Permutation of {len(order)} entries needs as many on the last axis of {name}, "
                f"got shape {x.shape}."
            )
        first = int(order[0])
        if np.array_equal(order, np.roll(np.arange(len(order)), -first)):
            x = jnp.concatenate(jnp.split(x, [first], axis=-1)[::-1], axis=-1)
        else:
            x = x[..., order]
        return x, jnp.zeros((), x.dtype)


class Reverse(nnx.Module):
    """The last axis backwards, whatever its length."""

    @property
    def event_shape(self) -> None:
        return None

    def forward_and_log_det(self, x: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        del cond
        return jnp.flip(x, -1), jnp.zeros((), x.dtype)

    def inverse_and_log_det(self, y: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        return self.forward_and_log_det(y, cond)
