"""Mixture of Gaussians with priors on weights, means and precisions: superfluous components empty.

    pi ~ Dirichlet(a),  S_k ~ Wishart(W, nu),  mu_k | S_k ~ N(m, (l S_k)^-1),
    x_i | k ~ N(mu_k, S_k^-1),  q = q(classes) q(pi) prod_k q(mu_k, S_k)

Source: Bishop (2006), Pattern Recognition and Machine Learning, section 10.2.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import digamma, multigammaln
from jaxtyping import Array, Float, Key

from genmix.densities import dirichlet

LOG_2PI = math.log(2 * math.pi)


class NormalWishart(NamedTuple):
    """S ~ Wishart(inverse_scale^-1, degrees), mu | S ~ N(loc, (strength S)^-1); or k of them."""

    loc: Float[Array, "*k d"]
    strength: Float[Array, "*k"] | float
    inverse_scale: Float[Array, "*k d d"]  # positive definite
    degrees: Float[Array, "*k"] | float  # above d - 1


class Factors(NamedTuple):
    """q(pi) = Dirichlet(concentration), and q(mu_k, S_k), its fields with a leading axis of k."""

    concentration: Float[Array, " k"]
    components: NormalWishart


class BayesianMixture(NamedTuple):
    """The model with its data, for `coordinate_ascent.ascend`.

    Attributes:
        x: events [n, d].
        prior: of each component.
        concentration: of the weights' Dirichlet, for each of the k components; small values let
            components empty.
    """

    x: Float[Array, "n d"]
    prior: NormalWishart
    concentration: Float[Array, " k"]

    def start(self, key: Key[Array, ""]) -> Factors:
        """Components around k different events, with the prior's spread.

        Raises:
            ValueError: if there are fewer events than components.
        """
        k, n = len(self.concentration), len(self.x)
        if k > n:
            raise ValueError(f"BayesianMixture has {k} components but x only {n} events.")
        loc = jax.random.choice(key, self.x, (k,), replace=False)
        stacked = jax.tree.map(lambda a: jnp.broadcast_to(a, (k, *jnp.shape(a))), self.prior)
        return Factors(self.concentration + n / k, stacked._replace(loc=loc))

    def log_responsibilities(self, factors: Factors) -> Float[Array, "n k"]:
        """E_q[log pi_k + log N(x_i | mu_k, S_k^-1)], log q(class of x_i = k) but for a constant."""
        a = factors.concentration
        log_weights = digamma(a) - digamma(jnp.sum(a))
        one = lambda x: jax.vmap(_expected_log_normal, (None, 0))(x, factors.components)
        return log_weights[None] + jax.vmap(one)(self.x)

    def sweep(self, factors: Factors) -> Factors:
        """q(classes), then the posteriors of weights and components given them."""
        shares = jax.nn.softmax(self.log_responsibilities(factors), axis=1)
        update = jax.vmap(lambda share: _posterior(self.prior, self.x, share))
        return Factors(self.concentration + jnp.sum(shares, axis=0), update(shares.T))

    def bound(self, factors: Factors) -> Float[Array, ""]:
        """Lower bound on log p(x) at the best q(classes) for these factors, in nats."""
        explained = jax.nn.logsumexp(self.log_responsibilities(factors), axis=1)
        rate_of_weights = dirichlet.kl(factors.concentration, self.concentration)
        rates = jax.vmap(lambda q: _kl(q, self.prior))(factors.components)
        return jnp.sum(explained) - rate_of_weights - jnp.sum(rates)


def _posterior(
    prior: NormalWishart, x: Float[Array, "n d"], share: Float[Array, " n"]
) -> NormalWishart:
    """Of a component that has these shares of the events; the prior itself if it has none."""
    count = jnp.sum(share)
    some = count > 0
    mean = share @ x / jnp.where(some, count, 1.0)  # 0 with no events, and then unused
    centred = x - mean[None]
    scatter = (share[:, None] * centred).T @ centred
    strength = prior.strength + count
    loc = (prior.strength * prior.loc + count * mean) / strength
    shift = mean - prior.loc
    between = prior.strength * count / strength * jnp.outer(shift, shift)
    return NormalWishart(
        loc, strength, prior.inverse_scale + scatter + between, prior.degrees + count
    )


def _expected_log_normal(x: Float[Array, " d"], q: NormalWishart) -> Float[Array, ""]:
    """E_q[log N(x | mu, S^-1)]."""
    dim = len(x)
    tril = jnp.linalg.cholesky(q.inverse_scale)
    distance = jnp.sum(solve_triangular(tril, x - q.loc, lower=True) ** 2)
    squares = dim / q.strength + q.degrees * distance
    return 0.5 * (_expected_log_det(q, tril) - dim * LOG_2PI - squares)


def _expected_log_det(q: NormalWishart, tril: Float[Array, "d d"]) -> Float[Array, ""]:
    """E_q[log det S], given the Cholesky factor of the inverse scale."""
    dim = len(tril)
    orders = (q.degrees - jnp.arange(dim, dtype=tril.dtype)) / 2
    return jnp.sum(digamma(orders)) + dim * math.log(2) - _log_det(tril)


def _log_det(tril: Float[Array, "d d"]) -> Float[Array, ""]:
    return 2 * jnp.sum(jnp.log(jnp.diagonal(tril)))


def _kl(q: NormalWishart, p: NormalWishart) -> Float[Array, ""]:
    """KL(q || p) of two normal-Wishart distributions, in nats.

    Source: Penny (2001), KL-divergences of Normal, Gamma, Dirichlet and Wishart densities.
    """
    dim = len(q.loc)
    tril_q, tril_p = jnp.linalg.cholesky(q.inverse_scale), jnp.linalg.cholesky(p.inverse_scale)
    ratio = jnp.asarray(q.strength / p.strength)
    shift = jnp.sum(solve_triangular(tril_q, q.loc - p.loc, lower=True) ** 2)
    of_means = 0.5 * (dim * (jnp.log(ratio) + 1 / ratio - 1) + p.strength * q.degrees * shift)
    trace = jnp.sum(solve_triangular(tril_q, tril_p, lower=True) ** 2)
    of_precisions = (
        0.5 * (q.degrees - p.degrees) * _expected_log_det(q, tril_q)
        - 0.5 * q.degrees * dim
        + 0.5 * q.degrees * trace
        + _log_normalizer(p.degrees, tril_p)
        - _log_normalizer(q.degrees, tril_q)
    )
    return of_means + of_precisions


def _log_normalizer(degrees: Array | float, tril: Float[Array, "d d"]) -> Float[Array, ""]:
    """Log of the integral of det(S)^((degrees - d - 1) / 2) exp(-tr(inverse_scale S) / 2)."""
    dim = len(tril)
    degrees = jnp.asarray(degrees, tril.dtype)
    log_two = degrees * dim / 2 * math.log(2)
    return log_two + multigammaln(degrees / 2, dim) - degrees / 2 * _log_det(tril)
