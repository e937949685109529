"""Sequential Monte Carlo through tempered bridges: reweight, resample, move."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from genmix.mcmc import bridge, importance, kernel, resampling


class Result(NamedTuple):
    """Weighted particles of the target, and the estimate of its integral."""

    position: PyTree  # [n, ...]
    log_weight: Float[Array, " n"]  # relative to each other
    log_evidence: Float[Array, ""]  # log Z, in nats; exp of it is unbiased
    ess: Float[Array, " temperatures"]  # of the weights at each temperature but the first
    acceptance_rate: Float[Array, " temperatures"]


def run(
    key: Key[Array, ""],
    path: bridge.Path,
    inverse_temperatures: bridge.Schedule,
    *,
    num_particles: int,
    num_steps: int = 1,
    resample: resampling.Resample = resampling.systematic,
    threshold: float = 0.5,
) -> Result:
    """Particles from base to target, resampled whenever their ESS falls below threshold * n.

    Annealed importance sampling is the case threshold = 0.

    Args:
        path: such as `bridge.Geometric(base, log_target, make_kernel)`.
        inverse_temperatures: from 0 to 1; for log Z to stay unbiased, not adapted in this run.
        num_steps: of the kernel at each temperature.

    Raises:
        ValueError: if the schedule does not rise from 0 to 1, a count is < 1 or threshold not in
            [0, 1].

    Source: Del Moral, Doucet & Jasra (2006), JRSS B 68(3), sections 3.1 and 3.3.2.
    """
    betas = bridge.check_schedule(inverse_temperatures)
    for name, count in (("num_particles", num_particles), ("num_steps", num_steps)):
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}.")
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must be between 0 and 1, got {threshold}.")
    start_key, run_key = jax.random.split(key)
    position = _start(start_key, path, num_particles)

    def temperature(carry, inputs):
        position, log_weight, log_evidence = carry
        i, before, beta = inputs
        resample_key, move_key = jax.random.split(jax.random.fold_in(run_key, i))
        log_weight += _log_ratios(path, position, before, beta)
        ess = importance.effective_sample_size(log_weight)
        ancestors = resample(resample_key, log_weight)
        mean = importance.log_evidence(log_weight).value
        # A NaN weight makes the ESS NaN and stays in log_evidence.
        is_low = ess < threshold * num_particles
        chosen = jnp.where(is_low, ancestors, jnp.arange(num_particles))
        position = jax.tree.map(lambda a: a[chosen], position)
        log_evidence += jnp.where(is_low, mean, 0.0)
        log_weight = jnp.where(is_low, 0.0, log_weight)
        position, rate = _move(move_key, position, path, beta, num_steps)
        return (position, log_weight, log_evidence), (ess, rate)

    dtype = betas.dtype
    carry = position, jnp.zeros(num_particles, dtype), jnp.zeros((), dtype)
    inputs = jnp.arange(betas.size - 1), betas[:-1], betas[1:]
    carry, (ess, rate) = jax.lax.scan(temperature, carry, inputs)
    position, log_weight, log_evidence = carry
    log_evidence += importance.log_evidence(log_weight).value
    return Result(position, log_weight, log_evidence, ess, rate)


def adaptive_schedule(
    key: Key[Array, ""],
    path: bridge.Path,
    *,
    num_particles: int,
    num_steps: int = 1,
    ess: float = 0.9,
    max_temperatures: int = 1000,
) -> Float[np.ndarray, " t"]:
    """Inverse temperatures such that each step leaves an ESS of ess * n: a run to find them.

    Raises:
        ValueError: if ess is not in (0, 1), or max_temperatures do not reach the target, as when no
            particle has a density there.

    Source: Jasra et al. (2011), Scandinavian Journal of Statistics 38(1), section 3.
    """
    if not 0 < ess < 1:
        raise ValueError(f"ess must be between 0 and 1, got {ess}.")

    @jax.jit
    def temperature(key, position, beta):
        resample_key, move_key = jax.random.split(key)
        log_ratios = lambda found: _log_ratios(path, position, beta, found)

        def halve(_, bounds):
            low, high = bounds
            middle = 0.5 * (low + high)
            size = importance.effective_sample_size(log_ratios(middle))
            is_fine = size >= ess * num_particles
            return jnp.where(is_fine, middle, low), jnp.where(is_fine, high, middle)

        one = jnp.ones_like(beta)
        found, _ = jax.lax.fori_loop(0, 40, halve, (beta, one))
        whole = importance.effective_sample_size(log_ratios(one))
        found = jnp.where(whole >= ess * num_particles, one, found)
        chosen = resampling.systematic(resample_key, log_ratios(found))
        position = jax.tree.map(lambda a: a[chosen], position)
        position, _ = _move(move_key, position, path, found, num_steps)
        return position, found

    start_key, run_key = jax.random.split(key)
    position = _start(start_key, path, num_particles)
    betas = [0.0]
    for step_key in jax.random.split(run_key, max_temperatures):
        position, beta = temperature(step_key, position, jnp.asarray(betas[-1]))
        if not float(beta) > betas[-1]:
            break
        betas.append(float(beta))
        if betas[-1] == 1:
            return np.array(betas)
    raise ValueError(
        f"the schedule reached {betas[-1]:.3g} after {len(betas) - 1} temperatures, not 1: take "
        "more particles, a smaller ess, or a base that covers the target."
    )


def _start(key: Key[Array, ""], path: bridge.Path, num_particles: int) -> PyTree:
    return jax.vmap(path.sample)(jax.random.split(key, num_particles))


def _log_ratios(path: bridge.Path, position: PyTree, beta: Array, next_beta: Array) -> Array:
    return jax.vmap(lambda x: path.log_ratio(x, beta, next_beta))(position)


def _move(
    key: Key[Array, ""], position: PyTree, path: bridge.Path, beta: Array, num_steps: int
) -> tuple[PyTree, Array]:
    """All particles num_steps further, and their mean acceptance rate."""
    move = lambda key, position: kernel.run(key, path.kernel(beta), position, num_steps)
    keys = jax.random.split(key, jax.tree.leaves(position)[0].shape[0])
    ends = jax.vmap(move)(keys, position)
    return ends.position, jnp.mean(ends.acceptance_rate)
