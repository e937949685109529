"""Multiscale flows: half of the channels leave for the base at every scale."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import PyTree

from genmix.bijectors.composition import chain, inverse
from genmix.bijectors.directions import (
    Event,
    LogDet,
    Unrestricted,
    require_bijectors,
    restrict_to_parts,
)
from genmix.bijectors.initialization import initialize_and_invert
from genmix.bijectors.squeeze import Squeeze


class OnChannels(nnx.Module):
    """The first channels pass a bijector that keeps their shape; the rest stay as they are."""

    def __init__(self, bijector: Unrestricted, num_channels: int):
        self.bijector = bijector
        self.num_channels = num_channels

    @property
    def event_shape(self) -> None:
        return None

    def forward_and_log_det(self, x: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        deep, rest = self._split(x)
        deep, log_det = self.bijector.forward_and_log_det(deep, cond)
        return self._join(deep, rest), log_det

    def inverse_and_log_det(self, y: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        deep, rest = self._split(y)
        deep, log_det = self.bijector.inverse_and_log_det(deep, cond)
        return self._join(deep, rest), log_det

    def initialized(self, batch: Event, cond: PyTree = None) -> "OnChannels":
        """Copy whose bijector is initialized by its channels of a batch of data."""
        deep = batch[..., : self.num_channels]
        return OnChannels(initialize_and_invert(self.bijector, deep, cond)[0], self.num_channels)

    def _split(self, event: Event) -> tuple[Event, Event]:
        if not event.ndim or event.shape[-1] <= self.num_channels:
            raise ValueError(
                f"on_channels takes {self.num_channels} channels and leaves the rest, so it needs "
                f"more than {self.num_channels} on the last axis, got shape {event.shape}."
            )
        return event[..., : self.num_channels], event[..., self.num_channels :]

    def _join(self, deep: Event, rest: Event) -> Event:
        if deep.shape != (*rest.shape[:-1], self.num_channels):
            raise ValueError(
                "on_channels needs a bijector that keeps the shape of an event, but "
                f"{(*rest.shape[:-1], self.num_channels)} became {deep.shape}."
            )
        return jnp.concatenate([deep, rest], axis=-1)


def on_channels(bijector: Any, num_channels: int) -> Any:
    """A bijector on the first channels (entries of the last axis); the others stay as they are.

    Raises:
        ValueError: if num_channels < 1.
        TypeError: if it is no bijector.
    """
    require_bijectors("on_channels", [bijector])
    if num_channels < 1:
        raise ValueError(f"num_channels must be positive, got {num_channels}.")
    return restrict_to_parts(OnChannels(bijector, num_channels), [bijector])


def multiscale(levels: Sequence[Any], channels: int) -> Any:
    """Flow of images [height, width, channels] whose levels work at ever coarser scales.

    From the data: squeeze, first level, then half of the channels go on to the next scale and the
    other half to the base. The base has the shape of the data, so that a standard normal over
    images is the base of all scales. Level i is given events of height and width divided by
    2^(i+1), with 2^(i+2) * channels channels; all those of the last level go to the base.

    Args:
        levels: bijectors that keep the shape of an event, the finest scale first.

    Raises:
        ValueError: if there is no level or channels < 1.
        TypeError: if a level is no bijector, or no direction is left.

    Source: Dinh et al. (2017), arXiv:1605.08803, section 3.6.
    """
    levels = list(levels)
    require_bijectors("multiscale", levels)
    if channels < 1:
        raise ValueError(f"channels must be positive, got {channels}.")
    deeper = None
    for i, level in reversed(list(enumerate(levels))):
        half = 2 ** (i + 1) * channels
        inner = level if deeper is None else chain([on_channels(deeper, half), level])
        deeper = chain([inverse(Squeeze()), inner, Squeeze()])
    return deeper
