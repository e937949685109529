"""Diagnostics of stored draws [chains, draws, ...]: R-hat, effective sample sizes, errors.

Each statistic is for one number of a position and mapped over the others. At least 4 draws a chain;
NaN where a draw is not finite, or where they do not vary.

Source: Vehtari et al. (2021), arXiv:1903.08008, sections 3 and 4.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri
from jaxtyping import Array, Float, PyTree

Stored = Float[Array, "chains draws *event"]
Statistic = Float[Array, "*event"]


class Report(NamedTuple):
    """Each field is a pytree like one position."""

    mean: Any
    standard_deviation: Any
    mcse: Any
    ess_bulk: Any
    ess_tail: Any
    r_hat: Any


def report(position: PyTree) -> Report:
    """All statistics of stored positions, such as `Draws.position`.

    Raises:
        ValueError: if there are fewer than 4 draws a chain.
    """
    position = jax.tree.map(lambda a: a * jnp.ones((), jnp.result_type(float)), position)
    functions = (
        lambda a: jnp.mean(a, axis=(0, 1)),
        lambda a: jnp.std(a, axis=(0, 1), ddof=1),
        mcse,
        ess_bulk,
        ess_tail,
        r_hat,
    )
    return Report(*(jax.tree.map(f, position) for f in functions))


def r_hat(draws: Stored) -> Statistic:
    """Rank-normalized split R-hat, the larger of that of the draws and that of their spread.

    Raises:
        ValueError: if there are fewer than 4 draws a chain.
    """

    def one(x):
        folded = jnp.abs(x - jnp.median(x))
        return jnp.maximum(
            _r_hat(_normal_scores(_split(x))), _r_hat(_normal_scores(_split(folded)))
        )

    return _map(one, draws)


def ess_bulk(draws: Stored) -> Statistic:
    """Effective sample size of rank-normalized draws: for the centre of the distribution.

    Raises:
        ValueError: if there are fewer than 4 draws a chain.
    """
    return _map(lambda x: _ess(_normal_scores(_split(x))), draws)


def ess_tail(draws: Stored, *, probability: float = 0.05) -> Statistic:
    """The smaller effective sample size of the two tails of that probability.

    Raises:
        ValueError: if there are fewer than 4 draws a chain.
    """

    def one(x):
        low, high = jnp.quantile(x, jnp.array([probability, 1 - probability]))
        below = lambda cut: _ess(_split((x <= cut).astype(x.dtype)))
        return jnp.minimum(below(low), below(high))

    return _map(one, draws)


def ess_mean(draws: Stored) -> Statistic:
    """Effective sample size of the draws as they are: for their mean.

    Raises:
        ValueError: if there are fewer than 4 draws a chain.
    """
    return _map(lambda x: _ess(_split(x)), draws)


def mcse(draws: Stored) -> Statistic:
    """Monte Carlo standard error of the mean.

    Raises:
        ValueError: if there are fewer than 4 draws a chain.
    """
    return jnp.std(draws, axis=(0, 1), ddof=1) / jnp.sqrt(ess_mean(draws))


def _map(f: Callable[[Array], Array], draws: Array) -> Array:
    if draws.ndim < 2 or draws.shape[1] < 4:
        raise ValueError(
            f"draws must have shape [chains, draws, ...] with at least 4 draws, got {draws.shape}."
        )
    flat = draws.reshape(*draws.shape[:2], -1)

    # One number after another: a sort and a transform of all at once would need much memory.
    def one(i: Array) -> Array:
        x = flat[:, :, i]
        # Ranks would give a NaN, or an infinity, a place among the others.
        return jnp.where(jnp.all(jnp.isfinite(x)), f(x), jnp.nan)

    return jax.lax.map(one, jnp.arange(flat.shape[2])).reshape(draws.shape[2:])


def _split(x: Array) -> Array:
    """Each chain's halves as chains; of an odd number of draws the middle one is left out."""
    half = x.shape[1] // 2
    return jnp.concatenate([x[:, :half], x[:, -half:]])


def _normal_scores(x: Array) -> Array:
    """Normal quantiles of the ranks, ties sharing their mean rank."""
    flat = x.reshape(-1)
    ordered = jnp.sort(flat)
    before = jnp.searchsorted(ordered, flat, side="left")
    through = jnp.searchsorted(ordered, flat, side="right")
    rank = 0.5 * (before + through + 1).astype(x.dtype)
    return ndtri((rank - 0.375) / (flat.size + 0.25)).reshape(x.shape)


def _r_hat(x: Array) -> Array:
    num = x.shape[1]
    within = jnp.mean(jnp.var(x, axis=1, ddof=1))
    between = jnp.var(jnp.mean(x, axis=1), ddof=1)
    value = jnp.sqrt((num - 1) / num + between / within)
    return jnp.where(jnp.max(x) > jnp.min(x), value, jnp.nan)


def _ess(x: Array) -> Array:
    """Effective sample size by Geyer's initial monotone sequence of autocorrelations."""
    num_chains, num = x.shape
    centred = x - jnp.mean(x, axis=1, keepdims=True)
    spectrum = jnp.fft.rfft(centred, n=2 * num, axis=1)
    covariance = jnp.fft.irfft(jnp.abs(spectrum) ** 2, n=2 * num, axis=1)[:, :num] / num
    mean_covariance = jnp.mean(covariance, axis=0)
    within = mean_covariance[0] * num / (num - 1)
    total = mean_covariance[0] + jnp.var(jnp.mean(x, axis=1), ddof=1)
    rho = 1 - (within - mean_covariance) / total
    rho = rho.at[0].set(1.0)
    # Pairs of neighbours are positive and fall, but for noise: cut where the first is not positive.
    num_pairs = max((num - 1) // 2, 1)
    pairs = rho[0 : 2 * num_pairs : 2] + rho[1 : 2 * num_pairs : 2]
    index = jnp.arange(num_pairs)
    last = jnp.min(jnp.where(pairs > 0, num_pairs - 1, index))
    falling = jax.lax.cummin(pairs)
    tau = -1 + 2 * jnp.sum(jnp.where(index < last, falling, 0.0))
    tau += jnp.maximum(rho[2 * last], 0.0)
    size = num_chains * num
    ess = size / jnp.maximum(tau, 1 / jnp.log10(size))
    # Not total > 0: rounding in the mean may make that of a constant positive.
    return jnp.where(jnp.max(x) > jnp.min(x), ess, jnp.nan)
