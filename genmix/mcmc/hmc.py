"""Hamiltonian Monte Carlo: a trajectory of leapfrog steps from a fresh momentum, corrected."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key, PyTree

from genmix.mcmc import metropolis_hastings, preconditioner, target
from genmix.mcmc.engine import noise
from genmix.mcmc.engine.noise import Noise
from genmix.mcmc.mala import State
from genmix.mcmc.metropolis_hastings import Info
from genmix.mcmc.record import record

_MAX_ENERGY_ERROR = 1000.0  # beyond it a trajectory has left what leapfrog can follow


@record
@dataclasses.dataclass(frozen=True)
class Kernel:
    """See `build`."""

    logdensity_fn: Any
    step_size: Any
    preconditioner: Any
    num_leapfrog: int = dataclasses.field(metadata={"static": True})
    jitter: float = dataclasses.field(metadata={"static": True})

    def init(self, position: PyTree) -> State:
        position = target.as_position(position)
        return State(position, *target.value_and_grad(self.logdensity_fn, position))

    def noise(self, state: State) -> Noise:
        shared = noise.scalar() if self.jitter else ()
        return Noise(noise.like(state.position), noise.scalar(), shared)

    def move(self, noise: Noise, state: State) -> tuple[State, Info]:
        return self._move(noise, state, lambda f: f)

    def move_all(self, noise: Noise, states: State, axis: int) -> tuple[State, Info]:
        """`move` of many chains, which are `axis` of every array.

        A map of `move` would put chains first in the loop over leapfrog steps, whatever the axis.
        """
        return self._move(noise, states, lambda f: jax.vmap(f, in_axes=axis, out_axes=axis))

    def _move(self, noise: Noise, state: State, over: Callable) -> tuple[State, Info]:
        step_size = self.step_size
        if self.jitter:
            step_size = step_size * (1 + self.jitter * (2 * noise.shared - 1))
        new, momentum = self.trajectory(state, noise.normal, step_size, over)
        return over(_accept)(noise.normal, noise.uniform, state, new, momentum)

    def trajectory(
        self, state: State, momentum: PyTree, step_size: Array, over: Callable = lambda f: f
    ) -> tuple[State, PyTree]:
        """Where num_leapfrog steps of step_size lead: the state there, and the momentum.

        Momentum is in the coordinates in which it is standard normal. Inside, the log-density
        itself is not needed, so it is evaluated at the end alone.

        Args:
            over: maps a function of one chain over those that there are.
        """

        def kick(momentum, grad, fraction):
            slope = preconditioner.apply_transpose(self.preconditioner, grad)
            change = preconditioner.apply(fraction * step_size, slope)
            return jax.tree.map(jnp.add, momentum, change)

        def drift(position, momentum):
            change = preconditioner.apply(self.preconditioner, momentum)
            return jax.tree.map(jnp.add, position, preconditioner.apply(step_size, change))

        def begin(state, momentum):
            return state.position, kick(momentum, state.logdensity_grad, 0.5)

        def leapfrog(position, momentum):
            position = drift(position, momentum)
            _, grad = target.value_and_grad(self.logdensity_fn, position)
            return position, kick(momentum, grad, 1.0)

        def end(position, momentum):
            new = self.init(drift(position, momentum))
            return new, kick(momentum, new.logdensity_grad, 0.5)

        carry = over(begin)(state, momentum)
        step = lambda _, carry: over(leapfrog)(*carry)
        return over(end)(*jax.lax.fori_loop(0, self.num_leapfrog - 1, step, carry))

    def step(self, key: Key[Array, ""], state: State) -> tuple[State, Info]:
        return self.move(noise.draw(key, self.noise(state)), state)


def build(
    logdensity_fn: target.LogDensity,
    step_size: Float[ArrayLike, ""],
    num_leapfrog: int,
    *,
    inverse_mass: Float[ArrayLike, "..."] | None = None,
    jitter: float = 0.2,
) -> Kernel:
    """Hamiltonian Monte Carlo with num_leapfrog steps of about step_size.

    Each transition draws its step size, the same one for all chains, uniformly within the share
    `jitter` of step_size to either side: trajectories of one length would return on a normal target
    to where they began, if that length is near a multiple of half its period. A proposal whose
    energy is more than 1000 nats above the start counts as divergent.

    Args:
        inverse_mass: best the target's covariance: its diagonal [d] or all of it [d, d], for the d
            numbers of a position in the order of `ravel_pytree`; None for the identity.
        jitter: from 0, where all trajectories are alike, to below 1.

    Raises:
        ValueError: if step_size is not positive, num_leapfrog < 1, inverse_mass not positive
            definite or jitter not in [0, 1).

    Source: Neal (2011), arXiv:1206.1901, sections 2.3, 3 (in 3.3 a jitter of 0.2) and 4.1.
    """
    target.require_positive("step_size", step_size)
    if num_leapfrog < 1:
        raise ValueError(f"num_leapfrog must be at least 1, got {num_leapfrog}.")
    if not 0 <= jitter < 1:
        raise ValueError(f"jitter must be at least 0 and below 1, got {jitter}.")
    tril = preconditioner.factor("inverse_mass", inverse_mass)
    size = jnp.asarray(step_size)
    return Kernel(target.as_pytree(logdensity_fn), size, tril, num_leapfrog, float(jitter))


def _accept(
    start: PyTree, uniform: Array, state: State, new: State, momentum: PyTree
) -> tuple[State, Info]:
    log_ratio = new.logdensity - state.logdensity
    log_ratio += _kinetic(start) - _kinetic(momentum)
    log_ratio = jnp.where(log_ratio < -_MAX_ENERGY_ERROR, jnp.nan, log_ratio)
    return metropolis_hastings.accept(uniform, log_ratio, new, state)


def _kinetic(momentum: PyTree) -> Array:
    return 0.5 * jnp.sum(jnp.stack([jnp.sum(p**2) for p in jax.tree.leaves(momentum)]))
