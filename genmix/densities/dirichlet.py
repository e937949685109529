"""The Dirichlet distribution: a probability vector with one concentration per entry."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import digamma
from jaxtyping import Array, Bool, Float, Key

from genmix.densities import gamma
from genmix.densities.beta import log_beta
from genmix.densities.distribution import (
    Event,
    Numbers,
    check_positive,
    sample_entries,
    sum_entries,
)
from genmix.densities.multivariate_normal import Vector, check_shape


def log_prob(x: Vector, concentration: Vector) -> Float[Array, ""]:
    """Log-density of Dirichlet(concentration) at x, in nats, per volume of the first d - 1 entries.

    -inf off the simplex (`off_simplex`), with zero gradient. An entry of 0 gives inf where its
    concentration is below 1 and -inf where one is above 1 (-inf wins if both happen), and its
    factor has no gradient there. The gradient in x takes the d entries as free. NaN if a
    concentration is not positive or any argument is NaN.

    Raises:
        ValueError: if x does not fit concentration.

    Source: Bishop (2006), Pattern Recognition and Machine Learning, section 2.2.1.
    """
    check_shape("x", x, concentration.shape)
    outside = off_simplex(x)
    at_zero = x == 0
    log_x = jnp.log(jnp.where(outside | at_zero, 1.0, x))
    exponent = concentration - 1
    terms = jnp.where(at_zero, gamma.log_zero_power(exponent), exponent * log_x)
    terms = jnp.where((terms == jnp.inf) & jnp.any(terms == -jnp.inf), 0.0, terms)
    value = jnp.sum(terms) - _log_normalizer(concentration)
    value = jnp.where(outside, -jnp.inf, value)
    return jnp.where(jnp.all(concentration > 0), value, jnp.nan)


def off_simplex(x: Float[Array, " d"]) -> Bool[Array, ""]:
    """Whether x has a negative entry or a sum further from 1 than sqrt(eps).

    That is 3.5e-4 in float32 and 1.5e-8 in float64, far above the rounding of a normalized vector.
    False where x has a NaN, so that NaN passes through.
    """
    tolerance = jnp.sqrt(jnp.finfo(x.dtype).eps)
    is_off = jnp.any(x < 0) | (jnp.abs(jnp.sum(x) - 1) > tolerance)
    return is_off & ~jnp.any(jnp.isnan(x))


def entropy(concentration: Float[Array, " d"]) -> Float[Array, ""]:
    """Differential entropy of Dirichlet(concentration), in nats; NaN for bad parameters."""
    total = jnp.sum(concentration)
    value = (
        _log_normalizer(concentration)
        + (total - concentration.size) * digamma(total)
        - jnp.sum((concentration - 1) * digamma(concentration))
    )
    return jnp.where(jnp.all(concentration > 0), value, jnp.nan)


def kl(concentration_p: Vector, concentration_q: Vector) -> Float[Array, ""]:
    """KL(p || q) of two Dirichlet distributions, in nats; NaN for bad parameters.

    Raises:
        ValueError: if concentration_q does not fit concentration_p.

    Source: Penny (2001), KL-divergences of Normal, Gamma, Dirichlet and Wishart densities.
    """
    check_shape("concentration_q", concentration_q, concentration_p.shape)
    mean_log_x = digamma(concentration_p) - digamma(jnp.sum(concentration_p))
    value = (
        _log_normalizer(concentration_q)
        - _log_normalizer(concentration_p)
        + jnp.sum((concentration_p - concentration_q) * mean_log_x)
    )
    is_valid = jnp.all((concentration_p > 0) & (concentration_q > 0))
    return jnp.where(is_valid, value, jnp.nan)


def sample(key: Key[Array, ""], concentration: Float[Array, " d"]) -> Float[Array, " d"]:
    """Draw a probability vector; differentiable in the concentration (`sample_log`).

    Entries below the smallest float are 0 exactly; small concentrations make most of them so.
    """
    return jnp.exp(sample_log(key, concentration))


def sample_log(key: Key[Array, ""], concentration: Float[Array, " d"]) -> Float[Array, " d"]:
    """Draw the logarithm of a Dirichlet(concentration) vector, without underflow.

    Normalized log-gamma variables, differentiable by their implicit derivatives. All NaN if a
    concentration is not positive.

    Source: Figurnov, Mohamed & Mnih (2018), arXiv:1805.08498, section 3.
    """
    return jax.nn.log_softmax(gamma.sample_log(key, concentration, 1.0))


def _log_normalizer(concentration: Array) -> Array:
    """sum_i log Gamma(a_i) - log Gamma(sum_i a_i), without the cancellation of its terms.

    A product of beta functions, one per broken stick: B(a_i, a_{i+1} + ... + a_d).
    """
    rest = jnp.cumsum(concentration[:0:-1])[::-1]
    return jnp.sum(log_beta(concentration[:-1], rest))


class Parameters(NamedTuple):
    """Of one entry, a vector, or several."""

    concentration: Float[Array, "*entries dim"]


@dataclasses.dataclass(frozen=True)
class Dirichlet:
    """Probability vectors of `dim` entries, by a concentration each, made positive by softplus.

    An entry that rounds to 0 is the smallest normal float, where the density is finite: at
    concentration 0.1 one float32 entry of 6,000.

    Args:
        concentration: the same for all entries, so that no number is left.
        smallest: what is added to the softplus.
    """

    dim: int
    concentration: float | None = None
    smallest: float = 0.1

    def __post_init__(self):
        if self.dim < 2:
            raise ValueError(f"dim must be at least 2, got {self.dim}.")
        check_positive(concentration=self.concentration, smallest=self.smallest)

    @property
    def entry_shape(self) -> tuple[int, ...]:
        return (self.dim,)

    @property
    def num_parameters(self) -> int:
        return self.dim if self.concentration is None else 0

    def parameters(self, numbers: Numbers) -> Parameters:
        if self.concentration is None:
            return Parameters(self.smallest + jax.nn.softplus(numbers))
        shape = (*numbers.shape[:-1], self.dim)
        return Parameters(jnp.full(shape, self.concentration, numbers.dtype))

    def log_prob(self, x: Event, numbers: Numbers) -> Float[Array, ""]:
        return sum_entries(lambda x, n: log_prob(x, *self.parameters(n)), x, numbers)

    def sample(self, key: Key[Array, ""], numbers: Numbers) -> Event:
        x = sample_entries(lambda key, n: sample(key, *self.parameters(n)), key, numbers)
        return jnp.maximum(x, jnp.finfo(x.dtype).tiny)

    def sample_and_log_prob(
        self, key: Key[Array, ""], numbers: Numbers
    ) -> tuple[Event, Float[Array, ""]]:
        x = self.sample(key, numbers)
        return x, self.log_prob(x, numbers)

    def mean(self, numbers: Numbers) -> Event:
        (concentration,) = self.parameters(numbers)
        return concentration / jnp.sum(concentration, axis=-1, keepdims=True)

    def kl(self, p: Parameters, q: Parameters) -> Float[Array, "*entries"]:
        return jnp.vectorize(kl, signature="(d),(d)->()")(*p, *q)
