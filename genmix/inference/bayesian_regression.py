"""Bayesian linear regression whose weight decay and noise are unknown, too.

    y ~ N(X w, I / b),  w ~ N(0, I / a),  a ~ Gamma(., .),  b ~ Gamma(., .),  q = q(w) q(a) q(b)

Source: Bishop (2006), Pattern Recognition and Machine Learning, section 10.3, with the noise
treated as the weight decay is there.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jax.scipy.linalg import cho_factor, cho_solve
from jax.scipy.special import digamma
from jaxtyping import Array, Float

from genmix.densities import gamma

LOG_2PI = math.log(2 * math.pi)


class Gamma(NamedTuple):
    """Gamma(concentration, rate) of a precision."""

    concentration: Float[Array, ""] | float
    rate: Float[Array, ""] | float

    @property
    def mean(self) -> Float[Array, ""]:
        return jnp.asarray(self.concentration) / self.rate

    @property
    def mean_log(self) -> Float[Array, ""]:
        return digamma(jnp.asarray(self.concentration)) - jnp.log(self.rate)


class Factors(NamedTuple):
    """q(w) = N(loc, cov), q(a) of the weights' precision and q(b) of the noise's."""

    loc: Float[Array, " d"]
    cov: Float[Array, "d d"]
    weights: Gamma
    noise: Gamma


class BayesianRegression(NamedTuple):
    """The model with its data, for `coordinate_ascent.ascend`."""

    inputs: Float[Array, "n d"]
    targets: Float[Array, " n"]
    weights: Gamma = Gamma(1e-2, 1e-2)
    noise: Gamma = Gamma(1e-2, 1e-2)

    def start(self) -> Factors:
        """The weights at zero with the prior's variance, the precisions at their priors."""
        dim, dtype = self.inputs.shape[1], self.inputs.dtype
        of = lambda prior: Gamma(*(jnp.asarray(v, dtype) for v in prior))
        weights, noise = of(self.weights), of(self.noise)
        return Factors(jnp.zeros(dim, dtype), jnp.eye(dim, dtype=dtype), weights, noise)

    def sweep(self, factors: Factors) -> Factors:
        """q(w) given the precisions, then each precision given q(w)."""
        n, dim = self.inputs.shape
        identity = jnp.eye(dim, dtype=self.inputs.dtype)
        gram = self.inputs.T @ self.inputs
        precision = factors.weights.mean * identity + factors.noise.mean * gram
        factor = cho_factor(precision)
        cov = cho_solve(factor, identity)
        loc = factors.noise.mean * cho_solve(factor, self.inputs.T @ self.targets)
        squares, errors = self._expected_squares(loc, cov)
        posterior = lambda prior, count, total: Gamma(
            prior.concentration + count / 2, prior.rate + total / 2
        )
        weights = posterior(self.weights, dim, squares)
        return Factors(loc, cov, weights, posterior(self.noise, n, errors))

    def bound(self, factors: Factors) -> Float[Array, ""]:
        """E_q[log p(y, w, a, b)] plus the entropies of the three factors, in nats."""
        n, dim = self.inputs.shape
        squares, errors = self._expected_squares(factors.loc, factors.cov)
        log_normal = lambda q, count, total: 0.5 * (count * (q.mean_log - LOG_2PI) - q.mean * total)
        entropy_of_w = 0.5 * (dim * (1 + LOG_2PI) + jnp.linalg.slogdet(factors.cov)[1])
        return (
            log_normal(factors.noise, n, errors)
            + log_normal(factors.weights, dim, squares)
            + entropy_of_w
            - gamma.kl(*factors.weights, *self.weights)
            - gamma.kl(*factors.noise, *self.noise)
        )

    def _expected_squares(
        self, loc: Float[Array, " d"], cov: Float[Array, "d d"]
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """E[w'w] and E[|y - X w|^2]."""
        squares = loc @ loc + jnp.trace(cov)
        errors = jnp.sum((self.targets - self.inputs @ loc) ** 2)
        return squares, errors + jnp.sum((self.inputs @ cov) * self.inputs)
