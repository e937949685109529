"""Random-walk Metropolis: a normal step, accepted or not."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key, PyTree

from genmix.mcmc import metropolis_hastings, preconditioner, target
from genmix.mcmc.engine import noise
from genmix.mcmc.engine.noise import Noise
from genmix.mcmc.metropolis_hastings import Info, State
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
        return State(position, target.value(self.logdensity_fn, position))

    def noise(self, state: State) -> Noise:
        return Noise(normal=noise.like(state.position), uniform=noise.scalar())

    def move(self, noise: Noise, state: State) -> tuple[State, Info]:
        step = preconditioner.apply(self.preconditioner, noise.normal)
        step = preconditioner.apply(self.step_size, step)
        position = jax.tree.map(jnp.add, state.position, step)
        new = State(position, target.value(self.logdensity_fn, position))
        log_ratio = new.logdensity - state.logdensity
        return metropolis_hastings.accept(noise.uniform, log_ratio, new, state)

    def step(self, key: Key[Array, ""], state: State) -> tuple[State, Info]:
        return self.move(noise.draw(key, self.noise(state)), state)


def build(
    logdensity_fn: target.LogDensity,
    step_size: Float[ArrayLike, ""],
    *,
    covariance: Float[ArrayLike, "..."] | None = None,
) -> Kernel:
    """Random-walk Metropolis with steps from N(0, step_size**2 covariance).

    Args:
        covariance: variances [d] or a matrix [d, d] for the d numbers of a position, in the order
            of `ravel_pytree`; None for the identity.

    Raises:
        ValueError: if step_size is not positive or covariance not positive definite.

    Source: Metropolis et al. (1953), Journal of Chemical Physics 21(6); Roberts, Gelman & Gilks
    (1997) on step sizes: an acceptance rate of 0.234 in high dimension.
    """
    target.require_positive("step_size", step_size)
    tril = preconditioner.factor("covariance", covariance)
    return Kernel(target.as_pytree(logdensity_fn), jnp.asarray(step_size), tril)
