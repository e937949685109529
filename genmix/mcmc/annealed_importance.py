"""Annealed importance sampling: log-weights target / base along a path of bridges."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from genmix.mcmc import bridge, target


class Particle(NamedTuple):
    """Where a path ended, with its log-weight, in nats."""

    position: Any
    log_weight: Float[Array, ""]


def run(
    key: Key[Array, ""],
    base: Any,
    log_target: target.LogDensity,
    make_kernel: bridge.MakeKernel,
    inverse_temperatures: bridge.Schedule,
    *,
    num_steps: int = 1,
) -> Particle:
    """One path from a draw of the base: E[exp(log_weight)] = Z, the integral of the target.

    So the mean of log-weights, and the log of the mean weight of several, are lower bounds on log Z
    in expectation. Draws weighted so represent the target.

    Args:
        base: any object with `sample(key)` and a normalized `log_prob(x)`.
        make_kernel: (log-density of a bridge, beta) -> kernel that leaves it invariant.
        inverse_temperatures: from 0 to 1, such as `bridge.linear(1000)`. A schedule may be adapted
            to the problem, but not to this run (see `sequential_monte_carlo.adaptive_schedule`).
        num_steps: of the kernel at each temperature.

    Raises:
        ValueError: if the schedule does not rise from 0 to 1, or num_steps < 1.

    Source: Neal (2001), arXiv:physics/9803008, section 2.
    """
    betas = _checked(inverse_temperatures, num_steps)
    start_key, path_key = jax.random.split(key)
    position = jax.tree.map(jnp.asarray, base.sample(start_key))

    def anneal(particle, inputs):
        i, beta, step = inputs
        key = jax.random.fold_in(path_key, i)
        weight = step * bridge.log_ratio(base.log_prob, log_target, particle.position)
        position, _ = bridge.move(
            key, particle.position, base, log_target, make_kernel, beta, num_steps
        )
        return Particle(position, particle.log_weight + weight), None

    steps = jnp.diff(betas)
    start = Particle(position, jnp.zeros((), steps.dtype))
    inputs = jnp.arange(steps.size - 1), betas[1:-1], steps[:-1]
    particle, _ = jax.lax.scan(anneal, start, inputs)
    last = steps[-1] * bridge.log_ratio(base.log_prob, log_target, particle.position)
    return Particle(particle.position, particle.log_weight + last)


def reverse(
    key: Key[Array, ""],
    position: PyTree,
    base: Any,
    log_target: target.LogDensity,
    make_kernel: bridge.MakeKernel,
    inverse_temperatures: bridge.Schedule,
    *,
    num_steps: int = 1,
) -> Particle:
    """One path back, from an exact draw of the target: E[exp(-log_weight)] = 1 / Z.

    So the mean of log-weights, and minus the log of the mean of exp(-log_weight), are upper bounds
    on log Z in expectation: but only if `position` is an exact draw, as of simulated data. The
    kernel must be reversible, as all Metropolis-Hastings kernels here are.

    Raises:
        ValueError: as `run`.

    Source: Grosse, Ghahramani & Adams (2015), arXiv:1511.02543, section 3.
    """
    betas = _checked(inverse_temperatures, num_steps)
    position = jax.tree.map(jnp.asarray, position)
    steps = jnp.diff(betas)
    last = steps[-1] * bridge.log_ratio(base.log_prob, log_target, position)

    def anneal(particle, inputs):
        i, beta, step = inputs
        step_key = jax.random.fold_in(key, i)
        position, _ = bridge.move(
            step_key, particle.position, base, log_target, make_kernel, beta, num_steps
        )
        weight = step * bridge.log_ratio(base.log_prob, log_target, position)
        return Particle(position, particle.log_weight + weight), None

    inputs = jnp.arange(steps.size - 1), betas[1:-1][::-1], steps[:-1][::-1]
    return jax.lax.scan(anneal, Particle(position, last), inputs)[0]


def _checked(inverse_temperatures: bridge.Schedule, num_steps: int) -> Array:
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}.")
    return bridge.check_schedule(inverse_temperatures)
