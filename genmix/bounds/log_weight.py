"""One log-weight, kept as the terms that it is the sum of."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from genmix import sharding

Draw = Callable[[Any, Key[Array, ""], PyTree], tuple[PyTree, Float[Array, ""]]]
"""(posterior, key, condition) -> (z, log q(z | condition)); draws differ in their gradients."""


class Terms(NamedTuple):
    """The summands of a log-weight, in nats.

    `log_prior` and `log_posterior` have one entry for each stochastic layer, the one nearest the
    data first; an exact density has none. `state` carries what the networks changed about
    themselves (normalization statistics), for a trainer to store.
    """

    log_likelihood: Float[Array, "*k"]
    log_prior: Float[Array, "*k layers"]
    log_posterior: Float[Array, "*k layers"]
    state: PyTree = ()

    @property
    def log_weight(self) -> Float[Array, "*k"]:
        """The log-weight: log p(x | z) + log p(z) - log q(z | x), over all layers."""
        return self.log_likelihood - jnp.sum(self.rates, axis=-1)

    @property
    def rates(self) -> Float[Array, "*k layers"]:
        """Each layer's log q(z | x) - log p(z), an estimate of its KL divergence."""
        return self.log_posterior - self.log_prior


Weigh = Callable[[Key[Array, ""], Draw], Terms]
"""(key, draw) -> the terms of one particle's log-weight."""


class Estimate(NamedTuple):
    """A bound from k particles; its gradient is the estimator's, its value always the bound's."""

    bound: Float[Array, ""]
    terms: Terms  # each with a leading axis of k particles


def with_gradient_of(value: Float[Array, ""], surrogate: Float[Array, ""]) -> Float[Array, ""]:
    """The value, with the gradient of the surrogate added to its own."""
    # The difference is exactly zero, so what is reported is the value to the last bit.
    return value + (surrogate - jax.lax.stop_gradient(surrogate))


def particles(key: Key[Array, ""], weigh: Weigh, draw: Draw, num_particles: int) -> Terms:
    """Terms of k independent particles, stacked.

    Raises:
        ValueError: if num_particles is smaller than 1.
    """
    if num_particles < 1:
        raise ValueError(f"num_particles must be at least 1, got {num_particles}.")
    keys = jax.random.split(key, num_particles)
    return map_particles(lambda key: weigh(key, draw), keys)


def map_particles(f: Callable[..., PyTree], keys: Key[Array, " k"], *others: PyTree) -> PyTree:
    """Apply f to each particle, along the "particle" axis of the mesh in use, if there is one."""
    keys = sharding.along(keys, "particle", "num_particles")
    return jax.vmap(f, spmd_axis_name=sharding.spmd_axis("particle"))(keys, *others)
