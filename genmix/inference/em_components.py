"""Components of a mixture for EM: Gaussians by their covariance, or any exponential family.

The Gaussians keep means and *centred* covariances, also of batches, so that nothing cancels where
the data lie far from 0. Their variances (along any direction) are at least `floor`, in the squared
unit of the data: where that binds, the M-step is the exact maximum under this constraint, so that a
component on a single point stays finite and the likelihood still never falls.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from genmix.densities import exponential_families, multivariate_normal, normal
from genmix.densities.distribution import Distribution
from genmix.densities.exponential_family import ExponentialFamily, inner
from genmix.inference.em import Summary

_EXACT = jax.lax.Precision.HIGHEST


@dataclasses.dataclass(frozen=True)
class DiagonalNormals:
    """Of `normal.Normal()`. Parameters: loc and scale, [k, d] each."""

    floor: float = 1e-6

    def __post_init__(self):
        _check_floor(self.floor)

    def log_probs(self, parameters: PyTree, x: Array) -> Float[Array, " k"]:
        loc, scale = parameters
        return jax.vmap(lambda loc, scale: jnp.sum(normal.log_prob(x, loc, scale)))(loc, scale)

    def log_prior(self, parameters: PyTree) -> Float[Array, ""]:
        del parameters
        return jnp.zeros(())

    def averages(self, x: Array, shares: Float[Array, "n k"]) -> PyTree:
        loc = jnp.matmul(shares.T, x, precision=_EXACT)
        variance = lambda loc, share: jnp.matmul(share, (x - loc[None]) ** 2, precision=_EXACT)
        return loc, jax.vmap(variance, (0, 1))(loc, shares)

    def combine(self, old: PyTree, new: PyTree, fraction: Float[Array, " k"]) -> PyTree:
        share = fraction[:, None]
        between = share * (1 - share) * (new[0] - old[0]) ** 2
        loc, variance = _interpolate(old, new, fraction)
        return loc, variance + between

    def maximize(self, summary: Summary, previous: PyTree) -> PyTree:
        loc, variance = summary.averages
        scale = jnp.sqrt(jnp.maximum(variance, self.floor))
        return _keep_empty(summary, (loc, scale), previous)

    def expected(self, parameters: PyTree) -> PyTree:
        return parameters[0], parameters[1] ** 2


@dataclasses.dataclass(frozen=True)
class FullNormals:
    """Of `multivariate_normal.FullNormal(d)`. Parameters: loc [k, d] and scale_tril [k, d, d]."""

    floor: float = 1e-6

    def __post_init__(self):
        _check_floor(self.floor)

    def log_probs(self, parameters: PyTree, x: Array) -> Float[Array, " k"]:
        return jax.vmap(multivariate_normal.log_prob, (None, 0, 0))(x, *parameters)

    def log_prior(self, parameters: PyTree) -> Float[Array, ""]:
        del parameters
        return jnp.zeros(())

    def averages(self, x: Array, shares: Float[Array, "n k"]) -> PyTree:
        return _moments(x, shares)

    def combine(self, old: PyTree, new: PyTree, fraction: Float[Array, " k"]) -> PyTree:
        return _combine_moments(old, new, fraction)

    def maximize(self, summary: Summary, previous: PyTree) -> PyTree:
        loc, covariance = summary.averages
        tril = jax.vmap(lambda c: _floored_cholesky(c, self.floor))(covariance)
        return _keep_empty(summary, (loc, tril), previous)

    def expected(self, parameters: PyTree) -> PyTree:
        loc, tril = parameters
        return loc, jnp.matmul(tril, jnp.swapaxes(tril, 1, 2), precision=_EXACT)


@dataclasses.dataclass(frozen=True)
class TiedNormals:
    """Normals of one covariance. Parameters: loc [k, d] and scale_tril [d, d]."""

    floor: float = 1e-6

    def __post_init__(self):
        _check_floor(self.floor)

    def log_probs(self, parameters: PyTree, x: Array) -> Float[Array, " k"]:
        return jax.vmap(multivariate_normal.log_prob, (None, 0, None))(x, *parameters)

    def log_prior(self, parameters: PyTree) -> Float[Array, ""]:
        del parameters
        return jnp.zeros(())

    def averages(self, x: Array, shares: Float[Array, "n k"]) -> PyTree:
        return _moments(x, shares)

    def combine(self, old: PyTree, new: PyTree, fraction: Float[Array, " k"]) -> PyTree:
        return _combine_moments(old, new, fraction)

    def maximize(self, summary: Summary, previous: PyTree) -> PyTree:
        loc, covariance = summary.averages
        pooled = jnp.tensordot(summary.shares, covariance, axes=1, precision=_EXACT)
        pooled = pooled / jnp.sum(summary.shares)
        return (
            _keep_empty(summary, loc, previous[0]),
            _floored_cholesky(pooled, self.floor),
        )

    def expected(self, parameters: PyTree) -> PyTree:
        loc, tril = parameters
        covariance = jnp.matmul(tril, tril.T, precision=_EXACT)
        return loc, jnp.broadcast_to(covariance, (len(loc), *covariance.shape))


@dataclasses.dataclass(frozen=True)
class FamilyMembers:
    """Members of an exponential family. Parameters: theta, stacked along a leading axis of k.

    With a prior (the conjugate one) each component sees, besides the data, pseudo-events whose
    average statistics are `prior_mean`: `prior_share` times the number of events. It keeps the
    means off the boundary, such as a pixel that is always black; the objective is then that of
    MAP estimation, without the constant of the prior.

    Attributes:
        distribution: a record of an exponential family, such as `bernoulli.Bernoulli()`, or any
            family itself.
        prior_mean: mean parameters of one member, in the domain; without it there is no prior.

    Source: Diaconis & Ylvisaker (1979), Conjugate Priors for Exponential Families.
    """

    distribution: Distribution | ExponentialFamily
    prior_mean: Any = None
    prior_share: float = 0.0

    def __post_init__(self):
        if not 0 <= self.prior_share < float("inf"):
            raise ValueError(f"prior_share must be at least 0, got {self.prior_share}.")
        if (self.prior_mean is None) != (self.prior_share == 0):
            raise ValueError("prior_mean and a prior_share above 0 go together: give both or none.")
        _ = self.family  # refuses a record of no family

    @property
    def family(self) -> ExponentialFamily:
        if isinstance(self.distribution, ExponentialFamily):
            return self.distribution
        return exponential_families.of(self.distribution)

    def log_probs(self, parameters: PyTree, x: Array) -> Float[Array, " k"]:
        return jax.vmap(self.family.log_prob, (None, 0))(x, parameters)

    def log_prior(self, parameters: PyTree) -> Float[Array, ""]:
        if self.prior_mean is None:
            return jnp.zeros(())
        log_prior = lambda theta: inner(theta, self.prior_mean) - self.family.log_partition(theta)
        return self.prior_share * jnp.sum(jax.vmap(log_prior)(parameters))

    def averages(self, x: Array, shares: Float[Array, "n k"]) -> PyTree:
        statistics = jax.vmap(self.family.statistics)(x)
        average = lambda t: jnp.tensordot(shares, t, axes=(0, 0), precision=_EXACT)
        return jax.tree.map(average, statistics)

    def combine(self, old: PyTree, new: PyTree, fraction: Float[Array, " k"]) -> PyTree:
        return _interpolate(old, new, fraction)

    def maximize(self, summary: Summary, previous: PyTree) -> PyTree:
        averages = summary.averages
        if self.prior_mean is not None:
            fraction = self.prior_share / (summary.shares + self.prior_share)
            k = len(fraction)
            stack = lambda mean: jnp.broadcast_to(mean, (k, *jnp.shape(mean)))
            averages = _interpolate(averages, jax.tree.map(stack, self.prior_mean), fraction)
        parameters = jax.vmap(self.family.natural_from_mean)(averages)
        finite = [
            jnp.all(jnp.isfinite(theta.reshape(len(theta), -1)), axis=1)
            for theta in jax.tree.leaves(parameters)
        ]
        usable = jnp.all(jnp.stack(finite), axis=0)
        if self.prior_mean is None:
            usable &= summary.shares > 0
        return _select(usable, parameters, previous)

    def expected(self, parameters: PyTree) -> PyTree:
        return jax.vmap(self.family.mean_from_natural)(parameters)


def _moments(x: Array, shares: Float[Array, "n k"]) -> tuple[Array, Array]:
    """Mean [k, d] and covariance [k, d, d] of the weighted events."""
    loc = jnp.matmul(shares.T, x, precision=_EXACT)

    def covariance(loc, share):
        centred = x - loc[None]
        return jnp.matmul((share[:, None] * centred).T, centred, precision=_EXACT)

    return loc, jax.vmap(covariance, (0, 1))(loc, shares)


def _combine_moments(old: PyTree, new: PyTree, fraction: Float[Array, " k"]) -> PyTree:
    difference = new[0] - old[0]
    spread = difference[:, :, None] * difference[:, None, :]
    loc, covariance = _interpolate(old, new, fraction)
    return loc, covariance + (fraction * (1 - fraction))[:, None, None] * spread


def _interpolate(old: PyTree, new: PyTree, fraction: Float[Array, " k"]) -> PyTree:
    def between(old, new):
        share = fraction.reshape(-1, *[1] * (old.ndim - 1))
        return old + share * (new - old)

    return jax.tree.map(between, old, new)


def _floored_cholesky(covariance: Float[Array, "d d"], floor: float) -> Float[Array, "d d"]:
    """Cholesky factor of the covariance with its eigenvalues raised to the floor."""
    values, vectors = jnp.linalg.eigh(covariance)
    # By QR of the root of the raised matrix: unlike its product it cannot round to an indefinite.
    root = jnp.sqrt(jnp.maximum(values, floor))[:, None] * vectors.T
    upper = jnp.linalg.qr(root, mode="r")
    return (jnp.sign(jnp.diag(upper))[:, None] * upper).T


def _keep_empty(summary: Summary, new: PyTree, previous: PyTree) -> PyTree:
    return _select(summary.shares > 0, new, previous)


def _select(usable: Array, new: PyTree, previous: PyTree) -> PyTree:
    def select(new, previous):
        return jnp.where(usable.reshape(-1, *[1] * (new.ndim - 1)), new, previous)

    return jax.tree.map(select, new, previous)


def _check_floor(floor: float) -> None:
    if not 0 < floor < float("inf"):
        raise ValueError(f"floor must be a positive variance, got {floor}.")
