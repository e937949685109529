"""Discrete draws through which a gradient passes."""

from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.capabilities import ExactDensity, Mean, Samples
from genmix.families import shapes

Event = Float[Array, "..."]


class StraightThrough(nnx.Module):
    """A part whose draws have the gradient of its mean, and are its draws all the same.

    So a critic, or a distance between samples, trains bits and levels too. The gradient is biased:
    it takes the critic for a linear function between the mean and the draw.

    Args:
        part: of discrete events, with log_prob, sample and mean.

    Raises:
        TypeError: if it lacks one of them.
    Source: Bengio, Léonard & Courville (2013), arXiv:1308.3432, section 4.
    """

    def __init__(self, part: Any):
        for kind, method in ((Mean, "mean"), (Samples, "sample"), (ExactDensity, "log_prob")):
            if not isinstance(part, kind):
                raise TypeError(
                    f"{type(part).__name__} cannot be drawn straight through: it has no {method}."
                )
        self.part: Any = part

    @property
    def event_shape(self) -> tuple[int, ...] | None:
        return shapes.event_shape(self.part)

    @property
    def cond_shape(self) -> tuple[int, ...] | None:
        return shapes.cond_shape(self.part)

    def log_prob(self, x: Event, cond: PyTree = None) -> Float[Array, ""]:
        return self.part.log_prob(x, cond)

    def mean(self, cond: PyTree = None) -> Event:
        return self.part.mean(cond)

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Event:
        mean = self.part.mean(cond)
        draw = jax.lax.stop_gradient(self.part.sample(key, cond)).astype(mean.dtype)
        return draw + (mean - jax.lax.stop_gradient(mean))
