"""A normal distribution whose parameters are at hand."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from genmix.densities import normal

Event = Float[Array, "..."]


class NormalAt(NamedTuple):
    """N(loc, diag(scale^2)): a part without a network, for parameters computed elsewhere."""

    loc: Event
    scale: Event

    @property
    def event_shape(self) -> tuple[int, ...]:
        return jnp.shape(self.loc)

    def parameters(self, cond: PyTree = None) -> normal.Parameters:
        """Means and standard deviations."""
        del cond
        return normal.Parameters(self.loc, self.scale)

    def log_prob(self, x: Event, cond: PyTree = None) -> Float[Array, ""]:
        del cond
        if x.shape != self.loc.shape:
            raise ValueError(f"NormalAt has events of shape {self.loc.shape}, got x of {x.shape}.")
        return jnp.sum(normal.log_prob(x, self.loc, self.scale))

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Event:
        del cond
        return normal.sample(key, self.loc, self.scale)

    def sample_and_log_prob(
        self, key: Key[Array, ""], cond: PyTree = None
    ) -> tuple[Event, Float[Array, ""]]:
        x = self.sample(key, cond)
        return x, self.log_prob(x)

    def mean(self, cond: PyTree = None) -> Event:
        del cond
        return self.loc
