"""Metropolis-adjusted Langevin algorithm: a step along the gradient plus noise, corrected."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key, PyTree

from genmix.mcmc import metropolis_hastings, preconditioner, target
from genmix.mcmc.engine import noise
from genmix.mcmc.engine.noise import Noise
from genmix.mcmc.metropolis_hastings import Info
from genmix.mcmc.record import record


class State(NamedTuple):
    """Where a chain is, with the value and the gradient of the log-density there."""

    position: Any
    logdensity: Array  # ()
    logdensity_grad: Any  # as position


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
        return Noise(normal=noise.like(state.position), uniform=noise.scalar())

    def move(self, noise: Noise, state: State) -> tuple[State, Info]:
        new, half, slope = propose(self, noise.normal, state)
        new_slope = preconditioner.apply_transpose(self.preconditioner, new.logdensity_grad)
        kick = preconditioner.apply(half, jax.tree.map(jnp.add, slope, new_slope))
        back = jax.tree.map(jnp.add, noise.normal, kick)
        log_ratio = new.logdensity - state.logdensity + _half_square(noise.normal)
        log_ratio -= _half_square(back)
        return metropolis_hastings.accept(noise.uniform, log_ratio, new, state)

    def step(self, key: Key[Array, ""], state: State) -> tuple[State, Info]:
        return self.move(noise.draw(key, self.noise(state)), state)


def build(
    logdensity_fn: target.LogDensity,
    step_size: Float[ArrayLike, ""],
    *,
    covariance: Float[ArrayLike, "..."] | None = None,
) -> Kernel:
    """MALA: proposals from N(x + step_size C grad log pi(x), 2 step_size C), C the covariance.

    Args:
        covariance: variances [d] or a matrix [d, d] for the d numbers of a position, in the order
            of `ravel_pytree`; None for the identity.

    Raises:
        ValueError: if step_size is not positive or covariance not positive definite.

    Source: Roberts & Tweedie (1996), Bernoulli 2(4), section 1.4; Roberts & Rosenthal (1998) on
    step sizes: an acceptance rate of 0.574 in high dimension.
    """
    target.require_positive("step_size", step_size)
    tril = preconditioner.factor("covariance", covariance)
    return Kernel(target.as_pytree(logdensity_fn), jnp.asarray(step_size), tril)


def propose(kernel: Any, normal: PyTree, state: State) -> tuple[State, Array, PyTree]:
    """A Langevin step, in coordinates where the noise is standard: drift + noise.

    Returns:
        The new state, the root of half the step size, and the gradient in those coordinates, from
        which the way back follows.
    """
    half = jnp.sqrt(0.5 * kernel.step_size)
    slope = preconditioner.apply_transpose(kernel.preconditioner, state.logdensity_grad)
    drift = preconditioner.apply(half, slope)
    step = preconditioner.apply(2 * half, jax.tree.map(jnp.add, drift, normal))
    step = preconditioner.apply(kernel.preconditioner, step)
    return kernel.init(jax.tree.map(jnp.add, state.position, step)), half, slope


def _half_square(x: PyTree) -> Array:
    return 0.5 * jnp.sum(jnp.stack([jnp.sum(a**2) for a in jax.tree.leaves(x)]))
