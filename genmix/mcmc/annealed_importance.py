"""Annealed importance sampling: log-weights target / base along a path of densities."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from genmix.mcmc import bridge, kernel


class Particle(NamedTuple):
    """Where a path ended, with its log-weight, in nats."""

    position: PyTree
    log_weight: Float[Array, ""]


def run(
    key: Key[Array, ""],
    path: bridge.Path,
    inverse_temperatures: bridge.Schedule,
    *,
    num_steps: int = 1,
) -> Particle:
    """One path from a draw of the base: E[exp(log_weight)] = Z, the integral of the target.

    So the mean of log-weights, and the log of the mean weight of several, are lower bounds on log Z
    in expectation. Draws weighted so represent the target.

    Args:
        path: such as `bridge.Geometric(base, log_target, make_kernel)`.
        inverse_temperatures: from 0 to 1, such as `bridge.linear(1000)`. A schedule may be adapted
            to the problem, but not to this run (see `sequential_monte_carlo.adaptive_schedule`).
        num_steps: of the kernel at each temperature.

    Raises:
        ValueError: if the schedule does not rise from 0 to 1, or num_steps < 1.

    Source: Neal (2001), arXiv:physics/9803008, section 2.
    """
    betas = _checked(inverse_temperatures, num_steps)
    start_key, path_key = jax.random.split(key)

    def anneal(particle, inputs):
        i, before, beta = inputs
        weight = path.log_ratio(particle.position, before, beta)
        moves_key = jax.random.fold_in(path_key, i)
        end = kernel.run(moves_key, path.kernel(beta), particle.position, num_steps)
        return Particle(end.position, particle.log_weight + weight), None

    start = Particle(path.sample(start_key), jnp.zeros((), betas.dtype))
    inputs = jnp.arange(betas.size - 2), betas[:-2], betas[1:-1]
    particle, _ = jax.lax.scan(anneal, start, inputs)
    last = path.log_ratio(particle.position, betas[-2], betas[-1])
    return Particle(particle.position, particle.log_weight + last)


def reverse(
    key: Key[Array, ""],
    position: PyTree,
    path: bridge.Path,
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
    last = path.log_ratio(position, betas[-2], betas[-1])

    def anneal(particle, inputs):
        i, before, beta = inputs
        moves_key = jax.random.fold_in(key, i)
        end = kernel.run(moves_key, path.kernel(beta), particle.position, num_steps)
        weight = path.log_ratio(end.position, before, beta)
        return Particle(end.position, particle.log_weight + weight), None

    inputs = jnp.arange(betas.size - 2), betas[:-2][::-1], betas[1:-1][::-1]
    return jax.lax.scan(anneal, Particle(position, last), inputs)[0]


def _checked(inverse_temperatures: bridge.Schedule, num_steps: int) -> Array:
    kernel.require_steps(num_steps)
    return bridge.check_schedule(inverse_temperatures)
