"""Independent grey levels, each a logistic variable cut into bins; parameters from a network."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.densities import discretized_logistic

Event = Float[Array, "..."]


class DiscretizedLogistic(nnx.Module):
    """p(x | c) for events of integer levels 0 .. num_levels - 1, entries independent given c.

    Args:
        network: condition -> array whose last axis holds loc, then the raw scale, for levels mapped
            to [-1, 1].
        min_scale: smallest scale; it is min_scale + softplus(raw).

    Source: Kingma et al. (2016), arXiv:1606.04934, section 5.2; Salimans et al. (2017),
    arXiv:1701.05517, section 2.1.
    """

    def __init__(
        self,
        network: Callable[[Any], Array],
        *,
        num_levels: int = 256,
        min_scale: float = 1e-3,
    ):
        if num_levels < 2:
            raise ValueError(f"num_levels must be at least 2, got {num_levels}.")
        if min_scale <= 0:
            raise ValueError(f"min_scale must be positive, got {min_scale}.")
        self.network = network
        self.num_levels = num_levels
        self.min_scale = min_scale

    def loc_and_scale(self, cond: PyTree = None) -> tuple[Event, Event]:
        """Location and scale of the logistic variables, on the axis [-1, 1]."""
        raw = self.network(cond)
        if raw.shape[-1] % 2:
            raise ValueError(
                "DiscretizedLogistic needs a network whose last axis is twice the event's, got "
                f"{raw.shape}."
            )
        loc, raw_scale = jnp.split(raw, 2, axis=-1)
        return loc, self.min_scale + jax.nn.softplus(raw_scale)

    def log_prob(self, x: Event, cond: PyTree = None) -> Float[Array, ""]:
        loc, scale = self.loc_and_scale(cond)
        if x.shape != loc.shape:
            raise ValueError(
                f"DiscretizedLogistic's network gives events of shape {loc.shape}, got x of "
                f"{x.shape}."
            )
        return jnp.sum(discretized_logistic.log_prob(x, loc, scale, num_levels=self.num_levels))

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Event:
        loc, scale = self.loc_and_scale(cond)
        levels = discretized_logistic.sample(key, loc, scale, num_levels=self.num_levels)
        return levels.astype(loc.dtype)

    def mean(self, cond: PyTree = None) -> Event:
        loc, scale = self.loc_and_scale(cond)
        log_prob = lambda level: discretized_logistic.log_prob(
            jnp.full_like(loc, level), loc, scale, num_levels=self.num_levels
        )
        levels = jnp.arange(self.num_levels, dtype=loc.dtype)
        return jnp.tensordot(levels, jnp.exp(jax.vmap(log_prob)(levels)), axes=1)
