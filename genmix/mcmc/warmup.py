"""Warm-up that ends: step size by dual averaging, covariance by Welford's recursion in windows.

All chains share what is adapted, and each step learns from all of them. What comes back is a fixed
kernel, so that the draws after it are those of one Markov chain.
"""

import dataclasses
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float

from genmix import sharding
from genmix.mcmc import summary
from genmix.mcmc.engine import chains as many
from genmix.mcmc.engine.chains import Chains

Covariance = Literal["fixed", "diagonal", "dense"]

_FIRST_WINDOW = 25  # steps; each is twice as long as the one before


class Report(NamedTuple):
    """What happened, step by step."""

    step_size: Float[Array, " steps"]
    acceptance_rate: Float[Array, " steps"]  # mean over chains


class DualAveraging(NamedTuple):
    """Search for the step size with a given acceptance rate.

    Source: Hoffman & Gelman (2014), arXiv:1111.4246, section 3.2.1.
    """

    log_step: Array
    log_mean: Array  # of the step sizes so far, later ones counting more
    error: Array  # running mean of target - acceptance rate
    num: Array
    centre: Array  # where log_step is drawn to


def dual_averaging(log_step: Array, centre: Array) -> DualAveraging:
    """Search from a first step size, drawn to exp(centre)."""
    zero = jnp.zeros_like(log_step)
    return DualAveraging(log_step, zero, zero, zero, centre)


def update(search: DualAveraging, acceptance_rate: Array, target: float) -> DualAveraging:
    """Search one step on."""
    count = search.num + 1
    weight = 1 / (count + 10.0)
    error = (1 - weight) * search.error + weight * (target - acceptance_rate)
    log_step = search.centre - jnp.sqrt(count) / 0.05 * error
    weight = count**-0.75
    log_mean = weight * log_step + (1 - weight) * search.log_mean
    return DualAveraging(log_step, log_mean, error, count, search.centre)


class Spread(NamedTuple):
    """Mean, and summed squared deviations (or their products), of draws so far."""

    mean: Array  # [d]
    deviations: Array  # [d] or [d, d]
    num: Array


def run(
    chains: Chains,
    kernel: Any,
    *,
    num_steps: int,
    target_acceptance: float,
    covariance: Covariance = "diagonal",
) -> tuple[Chains, Any, Report]:
    """Chains num_steps further, and the kernel with its step size and covariance adapted.

    The first 15 % of the steps and the last 10 % adapt the step size alone; between them the
    covariance is set at the end of each of a series of windows, each twice as long as the last.

    Args:
        kernel: one with fields `step_size` and `preconditioner`: random walk, MALA or HMC, or
            another library's given such (docs/reference/mcmc.md shows BlackJAX's NUTS).
        target_acceptance: mean acceptance rate; 0.234, 0.574 and 0.8 are usual for the three.
        covariance: "dense" takes d**2 numbers; "fixed" leaves the kernel's.

    Raises:
        ValueError: if num_steps < 20, target_acceptance is not in (0, 1), or covariance is unknown.
        TypeError: if the kernel has no such fields.

    Source: Stan Reference Manual (2024), section on HMC algorithm parameters (the windows).
    """
    if num_steps < 20:
        raise ValueError(f"num_steps must be at least 20, got {num_steps}.")
    if not 0 < target_acceptance < 1:
        raise ValueError(f"target_acceptance must be between 0 and 1, got {target_acceptance}.")
    if covariance not in ("fixed", "diagonal", "dense"):
        raise ValueError(f"covariance must be 'fixed', 'diagonal' or 'dense', got {covariance!r}.")
    if not (hasattr(kernel, "step_size") and hasattr(kernel, "preconditioner")):
        raise TypeError(
            f"{type(kernel).__module__}.{type(kernel).__name__} has no step_size and "
            "preconditioner to adapt: warm up random_walk, mala or hmc."
        )
    arrays, constants = many.apart(kernel)
    chains, step_size, preconditioner, report = _run(
        chains,
        arrays,
        constants=constants,
        num_steps=num_steps,
        target=target_acceptance,
        covariance=covariance,
        is_split=sharding.axis_size("chain") > 1,
    )
    kernel = dataclasses.replace(kernel, step_size=step_size, preconditioner=preconditioner)
    return chains, kernel, report


@partial(jax.jit, static_argnames=("constants", "num_steps", "target", "covariance", "is_split"))
def _run(chains, arrays, *, constants, num_steps, target, covariance, is_split):
    in_window, is_end = windows(num_steps)
    is_fixed = covariance == "fixed"
    mean_over = lambda x: jax.lax.pmean(x, "chain") if is_split else x

    def adapt(chains, arrays):
        kernel = many.together(arrays, constants)
        num = jax.tree.leaves(chains.state.position)[0].shape[0]
        num_all = num * (sharding.axis_size("chain") if is_split else 1)

        def gather(spread, position):
            rows = summary.flat(position, chains_last=False)
            mean = mean_over(jnp.mean(rows, axis=0))
            deviation = rows - mean[None, :]
            if spread.deviations.ndim == 1:
                inside = mean_over(jnp.mean(deviation**2, axis=0))
            else:
                matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
                inside = mean_over(matmul(deviation.T, deviation) / num)
            return merge(spread, Spread(mean, num_all * inside, jnp.float32(num_all)))

        def step(carry, inputs):
            chains, search, preconditioner, spread = carry
            in_window, is_end = inputs
            step_size = jnp.exp(search.log_step)
            now = dataclasses.replace(kernel, step_size=step_size, preconditioner=preconditioner)
            chains, _, info = many.fold(chains, now, 1)
            rate = mean_over(jnp.mean(info["acceptance_rate"]))
            search = update(search, rate, target)
            if not is_fixed:
                gathered = gather(spread, chains.state.position)
                spread = jax.tree.map(
                    lambda new, old: jnp.where(in_window, new, old), gathered, spread
                )
                search, preconditioner, spread = jax.lax.cond(
                    is_end, close, lambda *x: x, search, preconditioner, spread
                )
            return (chains, search, preconditioner, spread), Report(step_size, rate)

        def close(search, preconditioner, spread):
            del preconditioner
            # Drawn to where the search was, not to ten times that as at first: those windows that
            # are short would end before it is back.
            search = dual_averaging(search.log_mean, search.log_mean)
            return search, factor(spread), jax.tree.map(jnp.zeros_like, spread)

        like = summary.flat(chains.state.position, chains_last=False)[0]
        shape = like.shape if covariance == "diagonal" else like.shape * 2
        zeros = jnp.zeros(shape, like.dtype)
        spread = Spread(jnp.zeros_like(like), zeros, jnp.float32(0))
        preconditioner = kernel.preconditioner
        if not is_fixed:
            preconditioner = widen(preconditioner.astype(like.dtype), shape)
        log_step = jnp.log(kernel.step_size.astype(jnp.result_type(float)))
        search = dual_averaging(log_step, log_step + np.log(10.0))
        carry, report = jax.lax.scan(
            step, (chains, search, preconditioner, spread), (in_window, is_end)
        )
        chains, search, preconditioner, _ = carry
        return chains, jnp.exp(search.log_mean), preconditioner, report

    if not is_split:
        return adapt(chains, arrays)
    specs = Chains(*many.SPECS)
    return jax.shard_map(
        adapt, in_specs=(specs, P()), out_specs=(specs, P(), P(), P()), check_vma=False
    )(chains, arrays)


def windows(num_steps: int) -> tuple[Bool[np.ndarray, " steps"], Bool[np.ndarray, " steps"]]:
    """Whether each step is in a window of the covariance, and whether it is the last of one."""
    first, last = round(0.15 * num_steps), num_steps - round(0.1 * num_steps)
    in_window, is_end = np.zeros(num_steps, bool), np.zeros(num_steps, bool)
    in_window[first:last] = True
    start, length = first, _FIRST_WINDOW
    while start < last:
        # The last window takes what is left, if a longer one would not fit after it.
        end = start + length if start + 3 * length <= last else last
        is_end[end - 1] = True
        start, length = end, 2 * length
    return in_window, is_end


def merge(a: Spread, b: Spread) -> Spread:
    """Spread of two sets of draws together.

    Source: Chan, Golub & LeVeque (1983), The American Statistician 37(3), equation 2.1.
    """
    count = a.num + b.num
    delta = b.mean - a.mean
    square = delta**2 if a.deviations.ndim == 1 else jnp.outer(delta, delta)
    return Spread(
        a.mean + delta * (b.num / count),
        a.deviations + b.deviations + square * (a.num * b.num / count),
        count,
    )


def factor(spread: Spread) -> Array:
    """Square root of the covariance, drawn a little towards a small multiple of the identity."""
    weight = spread.num / (spread.num + 5)
    estimate = spread.deviations / jnp.maximum(spread.num - 1, 1)
    floor = 1e-3 * (1 - weight)
    if estimate.ndim == 1:
        return jnp.sqrt(weight * estimate + floor)
    identity = jnp.eye(len(estimate), dtype=estimate.dtype)
    return jnp.linalg.cholesky(weight * estimate + floor * identity)


def widen(tril: Array, shape: tuple[int, ...]) -> Array:
    """A square root of the covariance in a form that holds more numbers.

    Raises:
        ValueError: if it holds more already.
    """
    if tril.ndim > len(shape):
        raise ValueError(
            "the kernel has a dense covariance: warm up with covariance='dense' or 'fixed'."
        )
    if tril.ndim == len(shape):
        return tril
    if len(shape) == 1:
        return jnp.broadcast_to(tril, shape)
    return jnp.eye(*shape, dtype=tril.dtype) * tril
