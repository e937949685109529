"""Unadjusted Langevin algorithm: gradient steps with noise, and no correction."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key, PyTree

from genmix.mcmc import preconditioner, target
from genmix.mcmc.engine import noise
from genmix.mcmc.engine.noise import Noise
from genmix.mcmc.mala import State, propose
from genmix.mcmc.metropolis_hastings import Info
from genmix.mcmc.record import record


@record
@dataclasses.dataclass(frozen=True)
class Kernel:
    """See `build`."""

    logdensity_fn: Any
    step_size: Any
    preconditioner: Any

    def init(self, position: PyTree) -> State:
        position = target.as_position(position)
        return State(position, *target.value_and_grad(self.logdensity_fn, position))

    def noise(self, state: State) -> Noise:
        return Noise(normal=noise.like(state.position))

    def move(self, noise: Noise, state: State) -> tuple[State, Info]:
        new, _, _ = propose(self, noise.normal, state)
        is_off_support = new.logdensity == -jnp.inf
        is_divergent = ~is_off_support & ~(jnp.isfinite(new.logdensity) & _is_finite(new))
        is_accepted = ~(is_off_support | is_divergent)
        info = Info(
            is_accepted.astype(new.logdensity.dtype),
            is_accepted,
            is_divergent,
            is_off_support,
            ~jnp.isfinite(state.logdensity),
        )
        return jax.tree.map(lambda n, o: jnp.where(is_accepted, n, o), new, state), info

    def step(self, key: Key[Array, ""], state: State) -> tuple[State, Info]:
        return self.move(noise.draw(key, self.noise(state)), state)


def build(
    logdensity_fn: target.LogDensity,
    step_size: Float[ArrayLike, ""],
    *,
    covariance: Float[ArrayLike, "..."] | None = None,
) -> Kernel:
    """Langevin steps x + step_size C grad log pi(x) + sqrt(2 step_size) noise, noise ~ N(0, C).

    Its stationary distribution is off by O(step_size). Only a step off the support, or to a value
    or gradient that is not finite, is refused, and flagged.

    Args:
        covariance: C: variances [d] or a matrix [d, d] for the d numbers of a position, in the
            order of `ravel_pytree`; None for the identity.

    Raises:
        ValueError: if step_size is not positive or covariance not positive definite.

    Source: Roberts & Tweedie (1996), Bernoulli 2(4), section 1.4.
    """
    target.require_positive("step_size", step_size)
    tril = preconditioner.factor("covariance", covariance)
    return Kernel(target.as_pytree(logdensity_fn), jnp.asarray(step_size), tril)


def _is_finite(state: State) -> Array:
    leaves = jax.tree.leaves((state.position, state.logdensity_grad))
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))
