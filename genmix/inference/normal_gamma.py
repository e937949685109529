"""Mean and precision of normal data, a posteriori independent: the smallest mean-field example.

    x_i ~ N(mu, 1 / tau),  mu | tau ~ N(m, 1 / (l tau)),  tau ~ Gamma(a, b),  q = q(mu) q(tau)

Source: Bishop (2006), Pattern Recognition and Machine Learning, section 10.1.3.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jax.scipy.special import digamma, gammaln
from jaxtyping import Array, Float

from genmix.densities import gamma, normal

LOG_2PI = math.log(2 * math.pi)


class Prior(NamedTuple):
    """mu | tau ~ N(loc, 1 / (strength tau)), tau ~ Gamma(concentration, rate)."""

    loc: Float[Array, ""] | float = 0.0
    strength: Float[Array, ""] | float = 1.0
    concentration: Float[Array, ""] | float = 1.0
    rate: Float[Array, ""] | float = 1.0


class Factors(NamedTuple):
    """q(mu) = N(loc, 1 / precision) and q(tau) = Gamma(concentration, rate)."""

    loc: Float[Array, ""]
    precision: Float[Array, ""]
    concentration: Float[Array, ""]
    rate: Float[Array, ""]


class NormalGamma(NamedTuple):
    """The model with its data, for `coordinate_ascent.ascend`."""

    x: Float[Array, " n"]
    prior: Prior = Prior()

    def start(self) -> Factors:
        """Factors of the prior, mu at its own precision."""
        values = (self.prior.loc, self.prior.strength, self.prior.concentration, self.prior.rate)
        loc, strength, concentration, rate = (jnp.asarray(v, self.x.dtype) for v in values)
        return Factors(loc, strength * concentration / rate, concentration, rate)

    def sweep(self, factors: Factors) -> Factors:
        """q(mu) given q(tau), then q(tau) given q(mu)."""
        n, prior = len(self.x), self.prior
        mean_tau = factors.concentration / factors.rate
        loc = (prior.strength * prior.loc + jnp.sum(self.x)) / (prior.strength + n)
        precision = (prior.strength + n) * mean_tau
        squares = self._expected_squares(loc, precision)
        # mu's own prior, whose precision is strength * tau, adds half an observation.
        concentration = jnp.asarray(prior.concentration + (n + 1) / 2, self.x.dtype)
        return Factors(loc, precision, concentration, prior.rate + squares / 2)

    def bound(self, factors: Factors) -> Float[Array, ""]:
        """E_q[log p(x, mu, tau)] plus the entropies of the two factors, in nats."""
        n, prior = len(self.x), self.prior
        mean_tau = factors.concentration / factors.rate
        mean_log_tau = digamma(factors.concentration) - jnp.log(factors.rate)
        squares = self._expected_squares(factors.loc, factors.precision)
        log_normals = 0.5 * (
            (n + 1) * (mean_log_tau - LOG_2PI) + jnp.log(prior.strength) - mean_tau * squares
        )
        entropy_of_mu = normal.entropy(factors.loc, 1 / jnp.sqrt(factors.precision))
        q_tau = (factors.concentration, factors.rate)
        return log_normals + entropy_of_mu - gamma.kl(*q_tau, prior.concentration, prior.rate)

    def evidence(self) -> Float[Array, ""]:
        """log p(x), in nats, which the model is conjugate enough to know exactly."""
        n, prior = len(self.x), self.prior
        mean = jnp.mean(self.x)
        strength, concentration = prior.strength + n, prior.concentration + n / 2
        spread = jnp.sum((self.x - mean) ** 2)
        shift = prior.strength * n * (mean - prior.loc) ** 2 / strength
        rate = prior.rate + (spread + shift) / 2
        return (
            gammaln(concentration)
            - gammaln(prior.concentration)
            + prior.concentration * jnp.log(prior.rate)
            - concentration * jnp.log(rate)
            + 0.5 * (jnp.log(prior.strength) - jnp.log(strength))
            - 0.5 * n * LOG_2PI
        )

    def _expected_squares(self, loc: Array, precision: Array) -> Float[Array, ""]:
        """E[sum (x_i - mu)^2 + strength (mu - prior's loc)^2]."""
        n, prior = len(self.x), self.prior
        at_mean = jnp.sum((self.x - loc) ** 2) + prior.strength * (loc - prior.loc) ** 2
        return at_mean + (n + prior.strength) / precision
