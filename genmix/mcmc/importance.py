"""Importance sampling: plain, self-normalized, and Pareto-smoothed with its diagnostic k-hat."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from genmix import capabilities
from genmix.capabilities import Proposal, Proposes, Reparameterized, SampledDensity
from genmix.mcmc import target


class Draws(NamedTuple):
    """Draws from a proposal, with log-weights target / proposal, in nats."""

    position: Any  # [n, ...]
    log_weight: Float[Array, " n"]


class Estimate(NamedTuple):
    """An estimate and its standard error."""

    value: Float[Array, "..."]
    standard_error: Float[Array, "..."]


class Smoothed(NamedTuple):
    """Pareto-smoothed log-weights, normalized to sum to one, and the shape of their tail."""

    log_weight: Float[Array, " n"]
    k_hat: Float[Array, ""]


def draw(
    key: Key[Array, ""],
    logdensity_fn: target.LogDensity,
    proposal: Proposal,
    *,
    num_samples: int,
) -> Draws:
    """Weighted draws.

    Args:
        logdensity_fn: position -> log of the target, perhaps not normalized.
        proposal: any object with `sample_and_log_prob(key)`, or `sample(key)` and `log_prob(x)`; or
            with `propose(key, logdensity_fn)`, which aims at the target.

    Raises:
        ValueError: if num_samples < 1.
        TypeError: if the proposal has neither.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}.")
    if not isinstance(proposal, (Proposes, Reparameterized, SampledDensity)):
        raise TypeError(
            f"{type(proposal).__name__} cannot propose: a weight needs draws and their exact "
            "density, from sample_and_log_prob or from sample and log_prob."
        )

    def one(key):
        x, log_q = capabilities.draw(proposal, key, log_joint=logdensity_fn)
        return Draws(x, target.value(logdensity_fn, x) - log_q)

    return jax.vmap(one)(jax.random.split(key, num_samples))


def log_evidence(log_weights: Float[Array, " n"]) -> Estimate:
    """Log of the mean weight, an estimate of log Z, in nats; its error by the delta method.

    The mean weight is unbiased, its log too low on average. -inf if all weights are zero; NaN if
    one is.
    """
    num = log_weights.shape[0]
    value = jax.nn.logsumexp(log_weights) - jnp.log(num)
    relative = jnp.exp(log_weights - jnp.where(value == -jnp.inf, 0.0, value))
    return Estimate(value, jnp.std(relative, ddof=1) / jnp.sqrt(num))


def expectation(log_weights: Float[Array, " n"], values: Float[Array, "_ ..."]) -> Estimate:
    """Self-normalized mean of values, one for each draw; biased by O(1 / n). NaN if all are zero.

    Raises:
        ValueError: if there are not as many values as weights.

    Source: Owen (2013), Monte Carlo theory, methods and examples, section 9.2.
    """
    if values.shape[:1] != log_weights.shape:
        raise ValueError(
            f"values must have {log_weights.shape[0]} rows, as many as weights; got {values.shape}."
        )
    weights = jax.nn.softmax(log_weights).reshape(-1, *(1,) * (values.ndim - 1))
    mean = jnp.sum(weights * values, axis=0)
    return Estimate(mean, jnp.sqrt(jnp.sum((weights * (values - mean[None])) ** 2, axis=0)))


def effective_sample_size(log_weights: Float[Array, " n"]) -> Float[Array, ""]:
    """1 / sum of the squared normalized weights, between 1 and n."""
    return 1 / jnp.sum(jax.nn.softmax(log_weights) ** 2)


def pareto_smoothed(log_weights: Float[Array, " n"]) -> Smoothed:
    """Largest weights replaced by the expected order statistics of a Pareto tail fitted to them.

    Estimates are reliable while k_hat < 0.7; the weights' variance is infinite above 0.5.

    Raises:
        ValueError: for fewer than 25 weights, whose tail would have fewer than 5.

    Source: Vehtari et al. (2024), arXiv:1507.02646, section 2.3 and appendix C.
    """
    num = log_weights.shape[0]
    tail = math.ceil(min(num / 5, 3 * math.sqrt(num)))
    if tail < 5:
        raise ValueError(f"a Pareto tail needs at least 25 weights to be fitted, got {num}.")
    order = jnp.argsort(log_weights)
    shifted = log_weights - jnp.max(log_weights)
    ranked = shifted[order]
    smallest = jnp.log(jnp.finfo(ranked.dtype).tiny)
    cut = jnp.exp(jnp.maximum(ranked[-tail - 1], smallest))
    excess = jnp.exp(ranked[-tail:]) - cut
    k_hat, sigma = generalized_pareto(excess)
    levels = (jnp.arange(tail, dtype=ranked.dtype) + 0.5) / tail
    small = jnp.abs(k_hat) < jnp.finfo(ranked.dtype).eps
    k = jnp.where(small, 1.0, k_hat)
    log_survival = jnp.log1p(-levels)
    quantile = sigma * jnp.where(small, -log_survival, jnp.expm1(-k * log_survival) / k)
    smoothed = jnp.minimum(jnp.log(quantile + cut), 0.0)
    smoothed = jnp.where(jnp.isfinite(k_hat), smoothed, ranked[-tail:])
    log_weight = shifted.at[order[-tail:]].set(smoothed)
    return Smoothed(log_weight - jax.nn.logsumexp(log_weight), k_hat)


def generalized_pareto(excess: Float[Array, " m"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Shape k and scale of a generalized Pareto distribution for excesses >= 0 in rising order.

    The shape is drawn towards 1/2 as by ten further observations. k is infinite if fewer than five
    excesses are positive, as when weights are equal.

    Source: Zhang & Stephens (2009), Technometrics 51(3), section 3; the prior of k as in Vehtari et
    al. (2024), arXiv:1507.02646, appendix C.
    """
    num = excess.shape[0]
    num_grid = 30 + int(math.sqrt(num))
    is_tail = jnp.sum(excess > 0) >= 5
    safe = jnp.where(is_tail, excess, jnp.arange(1, num + 1, dtype=excess.dtype))
    quartile = jnp.maximum(safe[int(num / 4 + 0.5) - 1], jnp.finfo(safe.dtype).tiny)
    grid = jnp.arange(1, num_grid + 1, dtype=safe.dtype) - 0.5
    theta = (1 - jnp.sqrt(num_grid / grid)) / (3 * quartile) + 1 / safe[-1]
    k = jnp.mean(jnp.log1p(-theta[:, None] * safe[None, :]), axis=1)
    log_likelihood = num * (jnp.log(-theta / k) - k - 1)
    weights = jax.nn.softmax(log_likelihood)
    mean_theta = jnp.sum(weights * theta)
    k_hat = jnp.mean(jnp.log1p(-mean_theta * safe))
    sigma = -k_hat / mean_theta
    k_hat = (num * k_hat + 10 * 0.5) / (num + 10)
    return jnp.where(is_tail, k_hat, jnp.inf), sigma
