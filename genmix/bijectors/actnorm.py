"""Activation normalization: one shift and one scale for each channel."""

import math

import jax.numpy as jnp
from flax import nnx
from jaxtyping import PyTree

from genmix.bijectors.directions import Event, LogDet


class ActNorm(nnx.Module):
    """y = loc + exp(log_scale) x along the last axis, the same at every position of an image.

    It starts as the identity. `initialize(bijector, batch)` returns a copy that makes of the batch
    events with mean 0 and variance 1 in each channel; a channel that is constant there, but for
    the rounding of its values, keeps the scale 1, and one with a NaN becomes NaN.

    Source: Kingma & Dhariwal (2018), arXiv:1807.03039, section 3.1.
    """

    def __init__(self, num_channels: int):
        if num_channels < 1:
            raise ValueError(f"num_channels must be positive, got {num_channels}.")
        self.loc = nnx.Param(jnp.zeros(num_channels))
        self.log_scale = nnx.Param(jnp.zeros(num_channels))

    @property
    def event_shape(self) -> None:
        return None

    def forward_and_log_det(self, x: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        del cond
        self._check("x", x)
        loc = jnp.broadcast_to(self.loc[...], x.shape)
        log_scale = jnp.broadcast_to(self.log_scale[...], x.shape)
        return loc + jnp.exp(log_scale) * x, self._log_det(x)

    def inverse_and_log_det(self, y: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        del cond
        self._check("y", y)
        loc = jnp.broadcast_to(self.loc[...], y.shape)
        log_scale = jnp.broadcast_to(self.log_scale[...], y.shape)
        return (y - loc) * jnp.exp(-log_scale), -self._log_det(y)

    def initialized(self, batch: Event, cond: PyTree = None) -> "ActNorm":
        """Copy that standardizes a batch of data [n, ..., channels].

        Raises:
            ValueError: if the batch is a single vector, is empty, or has other channels.
        """
        del cond
        self._check("batch", batch)
        if batch.ndim < 2 or not batch.size:
            raise ValueError(
                "ActNorm starts from a batch of events [n, ..., channels], n >= 1, got shape "
                f"{batch.shape}."
            )
        rows = batch.reshape(-1, batch.shape[-1])
        # Distances from the first row are zero where all are the same, means of values only nearly.
        distances = rows - rows[:1]
        scale = jnp.std(distances, axis=0)
        is_constant = scale <= 4 * jnp.finfo(scale.dtype).eps * jnp.max(jnp.abs(rows), axis=0)
        copy = ActNorm(batch.shape[-1])
        copy.loc[...] = rows[0] + jnp.mean(distances, axis=0)
        copy.log_scale[...] = jnp.log(jnp.where(is_constant, 1, scale))
        return copy

    def _log_det(self, event: Event) -> LogDet:
        return math.prod(event.shape[:-1]) * jnp.sum(self.log_scale[...])

    def _check(self, name: str, event: Event) -> None:
        if not event.ndim or event.shape[-1] != self.loc.shape[0]:
            raise ValueError(
                f"ActNorm of {self.loc.shape[0]} channels needs as many on the last axis of "
                f"{name}, got shape {event.shape}."
            )
