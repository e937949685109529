"""Normal distribution with independent entries, its parameters a network's output."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.densities import normal

Event = Float[Array, "..."]


@runtime_checkable
class NormalParameters(Protocol):
    """A part that is a normal distribution with independent entries."""

    def normal_parameters(self, cond: PyTree = None) -> tuple[Event, Event]: ...


class FactorizedNormal(nnx.Module):
    """p(x | c) = N(loc(c), diag(scale(c)^2)): the usual posterior, or a likelihood of real data.

    Args:
        network: condition -> array whose last axis holds loc, then the raw scale.
        min_scale: smallest standard deviation; the scale is min_scale + softplus(raw).
    """

    def __init__(self, network: Callable[[Any], Array], *, min_scale: float = 1e-4):
        if min_scale <= 0:
            raise ValueError(f"min_scale must be positive, got {min_scale}.")
        self.network = network
        self.min_scale = min_scale

    def normal_parameters(self, cond: PyTree = None) -> tuple[Event, Event]:
        """Means and standard deviations given the condition."""
        raw = self.network(cond)
        if raw.shape[-1] % 2:
            raise ValueError(
                "FactorizedNormal needs a network whose last axis is twice the event's, got "
                f"{raw.shape}."
            )
        loc, raw_scale = jnp.split(raw, 2, axis=-1)
        return loc, self.min_scale + jax.nn.softplus(raw_scale)

    def log_prob(self, x: Event, cond: PyTree = None) -> Float[Array, ""]:
        loc, scale = self.normal_parameters(cond)
        if x.shape != loc.shape:
            raise ValueError(
                f"FactorizedNormal's network gives events of shape {loc.shape}, got x of {x.shape}."
            )
        return jnp.sum(normal.log_prob(x, loc, scale))

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Event:
        return normal.sample(key, *self.normal_parameters(cond))

    def sample_and_log_prob(
        self, key: Key[Array, ""], cond: PyTree = None
    ) -> tuple[Event, Float[Array, ""]]:
        loc, scale = self.normal_parameters(cond)
        x = normal.sample(key, loc, scale)
        return x, jnp.sum(normal.log_prob(x, loc, scale))

    def mean(self, cond: PyTree = None) -> Event:
        return self.normal_parameters(cond)[0]

    def kl(self, prior: Any, cond: PyTree = None) -> Float[Array, " dim"]:
        """KL(self(cond) || prior) for another normal with independent entries, entry by entry.

        Raises:
            TypeError: if the prior is not one.
        """
        if not isinstance(prior, NormalParameters):
            raise TypeError(
                f"KL(FactorizedNormal || {type(prior).__name__}) has no closed form: use the "
                "sampled rate (analytic=False)."
            )
        return normal.kl(*self.normal_parameters(cond), *prior.normal_parameters()).reshape(-1)
