"""Exponential families: p(x) = h(x) exp(<theta, T(x)> - A(theta)), one event x, in nats.

The natural parameters theta, the mean parameters mu = E[T(x)] and T(x) are pytrees of one shape.
A is convex, mu = grad A(theta), and the dual A*(mu) = sup_theta <theta, mu> - A(theta) leads back:
theta = grad A*(mu).

Source: Wainwright & Jordan (2008), Graphical Models, Exponential Families, and Variational
Inference, sections 3.2 and 3.6.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key, PyTree


@dataclasses.dataclass(frozen=True)
class ExponentialFamily:
    """A family by its functions; those of `exponential_families` are made so.

    Attributes:
        statistics: x -> T(x), finite off the support, and infinite at most on its edge.
        log_base: x -> log h(x), without a gradient in theta; -inf off the support.
        log_partition: theta -> A(theta); NaN outside the domain.
        natural_from_mean: mu -> theta, differentiable; NaN outside the mean parameters' domain.
        natural_from_parameters: the usual parameters, in their usual order -> theta.
        parameters_from_natural: theta -> tuple of the usual parameters.
        sample: (key, theta) -> one draw.
        dual_fn: mu -> A*(mu), if that has a limit on the boundary, as of discrete families;
            otherwise it is computed from theta.
    """

    statistics: Callable[[Array], PyTree]
    log_base: Callable[[Array], Array]
    log_partition: Callable[[PyTree], Array]
    natural_from_mean: Callable[[PyTree], PyTree]
    natural_from_parameters: Callable[..., PyTree]
    parameters_from_natural: Callable[[PyTree], tuple[Array, ...]]
    sample: Callable[[Key[Array, ""], PyTree], Array]
    dual_fn: Callable[[PyTree], Array] | None = None

    def log_prob(self, x: Any, natural: PyTree) -> Float[Array, ""]:
        """Log-density or log-probability of x, in nats.

        -inf with zero gradient off the support; on its edge, where T(x) may be infinite, the limit,
        whose infinite terms have no gradient. NaN outside the domain of theta. The terms cancel
        where the distribution is narrow and far from 0; the densities of the usual parameters,
        such as `normal.log_prob`, do not.
        """
        x, natural = jnp.asarray(x), _arrays(natural)
        log_base, log_partition = self.log_base(x), self.log_partition(natural)
        value = log_base + inner(natural, self.statistics(x)) - log_partition
        outside = (log_base == -jnp.inf) & ~jnp.isnan(log_partition)
        return jnp.where(outside, -jnp.inf, value)

    def mean_from_natural(self, natural: PyTree) -> PyTree:
        """mu = grad A(theta), by autodiff; NaN outside the domain."""
        value, mean = jax.value_and_grad(self.log_partition)(_arrays(natural))
        return jax.tree.map(lambda m: jnp.where(jnp.isnan(value), jnp.nan, m), mean)

    def dual(self, mean: PyTree) -> Float[Array, ""]:
        """A*(mu) = <theta(mu), mu> - A(theta(mu)), whose gradient is theta(mu).

        NaN outside the domain; on its boundary the limit if `dual_fn` knows it, with zero gradient
        where the true one is infinite.
        """
        mean = _arrays(mean)
        if self.dual_fn is not None:
            return self.dual_fn(mean)
        natural = self.natural_from_mean(mean)
        return inner(natural, mean) - self.log_partition(natural)

    def entropy(self, natural: PyTree) -> Float[Array, ""]:
        """-A*(mu): the entropy -E[log p(x) / h(x)] relative to the base measure, in nats.

        It is the usual entropy of all families here but the Poisson and the normal of known scale,
        whose h is not 1.
        """
        natural = _arrays(natural)
        return self.log_partition(natural) - inner(natural, self.mean_from_natural(natural))

    def kl(self, natural_p: PyTree, natural_q: PyTree) -> Float[Array, ""]:
        """KL(p || q), the Bregman divergence of A between q and p, in nats.

        Source: Wainwright & Jordan (2008), section 5.2.2.
        """
        natural_p, natural_q = _arrays(natural_p), _arrays(natural_q)
        difference = jax.tree.map(jnp.subtract, natural_q, natural_p)
        rise = self.log_partition(natural_q) - self.log_partition(natural_p)
        return rise - inner(difference, self.mean_from_natural(natural_p))

    def average_statistics(self, x: Any, weights: Float[Array, " n"] | None = None) -> PyTree:
        """Mean of T over the leading axis of x, weighted by `weights` if given.

        Raises:
            ValueError: if x has no events, or not one for each weight.
        """
        x = jnp.asarray(x)
        if x.ndim == 0 or not len(x):
            raise ValueError(f"x must hold events along its first axis, got shape {x.shape}.")
        statistics = jax.vmap(self.statistics)(x)
        if weights is None:
            return jax.tree.map(lambda t: jnp.mean(t, axis=0), statistics)
        if len(weights) != len(x):
            raise ValueError(f"{len(x)} events need as many weights, got {len(weights)}.")
        share = weights / jnp.sum(weights)
        average = lambda t: jnp.tensordot(share, t, axes=1, precision=lax.Precision.HIGHEST)
        return jax.tree.map(average, statistics)

    def fit(self, x: Any, weights: Float[Array, " n"] | None = None) -> PyTree:
        """Natural parameters of greatest likelihood: those whose mean is the average of T.

        NaN or infinite where none is greatest: the average lies on the boundary, as that of n equal
        numbers does for the normal.

        Raises:
            ValueError: as `average_statistics`.
        """
        return self.natural_from_mean(self.average_statistics(x, weights))


def inner(natural: PyTree, statistics: PyTree) -> Float[Array, ""]:
    """<theta, t>, with 0 * inf = 0; where infinite terms of both signs meet, -inf.

    No gradient flows through infinite terms.
    """
    finite, infinite = [], []
    for theta, t in zip(jax.tree.leaves(natural), jax.tree.leaves(statistics), strict=True):
        unbounded = jnp.isinf(t) | (jnp.isinf(theta) & (t == 0))
        product = jnp.where(unbounded, 0.0, theta) * jnp.where(unbounded, 0.0, t)
        finite.append(jnp.sum(product))
        edge = jnp.where(unbounded & (theta != 0) & (t != 0), lax.stop_gradient(theta * t), 0.0)
        infinite.append((jnp.any(edge == -jnp.inf), jnp.any(edge == jnp.inf)))
    low, high = (jnp.any(jnp.stack(part)) for part in zip(*infinite, strict=True))
    total = jnp.sum(jnp.stack(finite))
    limit = jnp.where(low, -jnp.inf, jnp.inf)
    return jnp.where((low | high) & ~jnp.isnan(total), limit, total)


def _arrays(tree: PyTree) -> PyTree:
    return jax.tree.map(jnp.asarray, tree)
