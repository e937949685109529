"""The standard normal distribution as a part."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.densities import normal

Event = Float[Array, "..."]


class StandardNormal(nnx.Module):
    """N(0, I) over events of a given shape; without a condition, hence mostly a prior."""

    def __init__(self, shape: int | Sequence[int]):
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        if min(self.shape, default=1) < 1:
            raise ValueError(f"shape must be positive, got {self.shape}.")

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.shape

    def parameters(self, cond: PyTree = None) -> normal.Parameters:
        """Means and standard deviations."""
        del cond
        return normal.Parameters(jnp.zeros(self.shape), jnp.ones(self.shape))

    def log_prob(self, x: Event, cond: PyTree = None) -> Float[Array, ""]:
        del cond
        if x.shape != self.shape:
            raise ValueError(
                f"StandardNormal expects one event of shape {self.shape}, got {x.shape}."
            )
        return jnp.sum(normal.log_prob(x, 0.0, 1.0))

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Event:
        del cond
        return jax.random.normal(key, self.shape)

    def sample_and_log_prob(
        self, key: Key[Array, ""], cond: PyTree = None
    ) -> tuple[Event, Float[Array, ""]]:
        x = self.sample(key, cond)
        return x, self.log_prob(x)

    def mean(self, cond: PyTree = None) -> Event:
        del cond
        return jnp.zeros(self.shape)
