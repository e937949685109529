"""Moments of chains gathered while they run: mean, variance, R-hat, ESS, without stored draws."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree


class Moments(NamedTuple):
    """Of the batches of one sequence so far; each a pytree like what is summarized."""

    mean: Any
    within: Any  # squared deviations from the batch means, summed
    between: Any  # squared deviations of the batch means from the mean, summed


class Summary(NamedTuple):
    """Moments of each half of each chain [chains, 2, ...]; the statistics are over all of them.

    With one chain R-hat compares its halves. Standard errors and ESS come from means of batches,
    right if a batch is many times longer than the autocorrelation time.

    Source: Flegal & Jones (2010), Annals of Statistics 38(2), section 3 (batch means); Gelman et
    al. (2013), Bayesian Data Analysis, section 11.4 (split R-hat).
    """

    moments: Moments
    info: dict[str, Array]  # the kernel's diagnostics averaged over all steps, [chains]
    covariance: Float[Array, "d d"] | None  # in the order of `ravel_pytree`, if asked for
    num_batches: int
    batch_size: int

    def mean(self) -> PyTree:
        """Mean over all draws."""
        return jax.tree.map(lambda m: jnp.mean(m, axis=(0, 1)), self.moments.mean)

    def variance(self) -> PyTree:
        """Variance of all draws together."""

        def one(mean, within, between):
            spread = self._spread(mean, between)
            total = jnp.sum(within, axis=(0, 1)) + self.batch_size * spread
            return total / (self._num_draws() - 1)

        return jax.tree.map(one, *self.moments)

    def r_hat(self) -> PyTree:
        """Split R-hat: 1 where chains and their halves agree, larger where they do not."""
        length = self.num_batches // 2 * self.batch_size

        def one(mean, within, between):
            inside = jnp.mean(within + self.batch_size * between, axis=(0, 1)) / (length - 1)
            across = jnp.var(mean, axis=(0, 1), ddof=1)
            return jnp.sqrt((length - 1) / length + across / inside)

        return jax.tree.map(one, *self.moments)

    def mcse(self) -> PyTree:
        """Monte Carlo standard error of the mean."""
        num_batches = self._num_draws() // self.batch_size

        def one(mean, within, between):
            return jnp.sqrt(self._spread(mean, between) / (num_batches - 1) / num_batches)

        return jax.tree.map(one, *self.moments)

    def ess(self) -> PyTree:
        """Effective sample size of the mean."""
        return jax.tree.map(lambda v, s: v / s**2, self.variance(), self.mcse())

    def _num_draws(self) -> int:
        num_chains = jax.tree.leaves(self.moments)[0].shape[0]
        return num_chains * self.num_batches * self.batch_size

    def _spread(self, mean: Array, between: Array) -> Array:
        """Squared deviations of all batch means from the mean of all, summed."""
        deviations = (mean - jnp.mean(mean, axis=(0, 1), keepdims=True)) ** 2
        return jnp.sum(between + self.num_batches // 2 * deviations, axis=(0, 1))


class Sums(NamedTuple):
    """Of one batch so far, of deviations from a point near its mean."""

    first: Any
    second: Any


def as_float(x: Array) -> Array:
    """What moments are taken of: real numbers as they are, others as real numbers."""
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.result_type(float))


def zero_sums(like: PyTree) -> Sums:
    """Sums of an empty batch."""
    zeros = jax.tree.map(jnp.zeros_like, like)
    return Sums(zeros, zeros)


def add(sums: Sums, x: PyTree, centre: PyTree) -> Sums:
    """Sums with one more draw."""
    deviation = jax.tree.map(jnp.subtract, x, centre)
    return Sums(
        jax.tree.map(jnp.add, sums.first, deviation),
        jax.tree.map(lambda s, d: s + d**2, sums.second, deviation),
    )


def zero_moments(like: PyTree) -> Moments:
    """Moments before the first batch."""
    zeros = jax.tree.map(jnp.zeros_like, like)
    return Moments(zeros, zeros, zeros)


def add_batch(
    moments: Moments, sums: Sums, centre: PyTree, batch_size: int, count: Array
) -> Moments:
    """Moments with one more batch, the one number `count` from 1 on. Source: Welford (1962)."""

    def one(mean, within, between, first, second, centre):
        batch_mean = centre + first / batch_size
        delta = batch_mean - mean
        new_mean = mean + delta / count.astype(delta.dtype)
        within = within + jnp.maximum(second - first**2 / batch_size, 0.0)
        return new_mean, within, between + delta * (batch_mean - new_mean)

    parts = jax.tree.map(one, *moments, *sums, centre)
    structure = jax.tree.structure(moments.mean)
    return Moments(*jax.tree.transpose(structure, jax.tree.structure((0, 0, 0)), parts))


def flat(x: PyTree, chains_last: bool) -> Float[Array, "chains d"]:
    """The numbers of each chain in a row, in the order of `ravel_pytree`."""
    axis = -1 if chains_last else 0
    return jax.vmap(lambda x: ravel_pytree(x)[0], in_axes=axis)(x)


class Products(NamedTuple):
    """Sums over chains and steps of deviations from a fixed point, and of their products."""

    first: Float[Array, " d"]
    second: Float[Array, "d d"]


def zero_products(centre: Float[Array, " d"]) -> Products:
    """Sums over nothing."""
    return Products(jnp.zeros_like(centre), jnp.zeros((centre.size, centre.size), centre.dtype))


def add_products(
    products: Products, x: Float[Array, "chains d"], centre: Float[Array, " d"]
) -> Products:
    """Sums with one more draw of each chain."""
    deviation = x - centre[None, :]
    square = jnp.matmul(deviation.T, deviation, precision=jax.lax.Precision.HIGHEST)
    return Products(products.first + jnp.sum(deviation, axis=0), products.second + square)


def covariance(products: Products, num_draws: int) -> Float[Array, "d d"]:
    """Covariance of num_draws draws."""
    outer = jnp.outer(products.first, products.first) / num_draws
    return (products.second - outer) / (num_draws - 1)
