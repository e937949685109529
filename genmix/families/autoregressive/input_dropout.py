"""Autoregressive densities that see a random part of what came before."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree, Shaped

from genmix.families import shapes
from genmix.families.autoregressive.autoregressive import Autoregressive

Event = Shaped[Array, "..."]


class InputDropout(nnx.Module):
    """p(x | c) = E_m[p(x | c, m)]: entries hidden by m are not seen by those after them.

    Given m, drawn once for an event with every entry hidden at `rate`, the probabilities of events
    sum to one; so the mixture over m is a model too, with the log-weight log p(x | c, m). It makes
    a likelihood lean on its latent variable in training; evaluate with `density` itself.

    Raises:
        TypeError: if the density is not autoregressive.
        ValueError: if the rate is not in [0, 1].

    Source: Bowman et al. (2016), arXiv:1511.06349, section 3.1.
    """

    def __init__(self, density: Any, rate: float):
        if not isinstance(density, Autoregressive):
            raise TypeError(
                "InputDropout needs an Autoregressive density, whose log_prob can hide entries "
                f"from those after them (keep); {type(density).__name__}'s cannot: wrap the "
                "Autoregressive part itself, such as a model's likelihood."
            )
        if not 0 <= rate <= 1:
            raise ValueError(f"rate must be in [0, 1], got {rate}.")
        self.density, self.rate = density, rate

    @property
    def event_shape(self) -> tuple[int, ...] | None:
        return shapes.event_shape(self.density)

    @property
    def cond_shape(self) -> tuple[int, ...] | None:
        return shapes.cond_shape(self.density)

    def log_weight(self, key: Key[Array, ""], x: Event, cond: PyTree = None) -> Float[Array, ""]:
        """Log of an unbiased estimate of p(x | cond), in nats."""
        return self.density.log_prob(x, cond, self._keep(key))

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Event:
        keep_key, key = jax.random.split(key)
        return self.density.sample(key, cond, self._keep(keep_key))

    def _keep(self, key: Key[Array, ""]) -> Float[Array, "..."]:
        keep = jax.random.bernoulli(key, 1 - self.rate, self.density.network.shape)
        return keep.astype(jnp.result_type(float))
