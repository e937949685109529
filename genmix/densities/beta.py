"""The beta distribution on [0, 1], of density proportional to x**(a - 1) * (1 - x)**(b - 1).

Floats are sparse near 1: where b < 1 puts mass there, use 1 - x with a and b exchanged.
At large a + b the terms of `log_prob`, `entropy` and `kl` cancel, in float32 to 1 nat at a = b =
1e6; where a + b, times the logarithm of a or b, is beyond the largest float (3e38 in float32) they
are NaN.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma, gammaln
from jaxtyping import Array, Float, Key

from genmix.densities import gamma
from genmix.densities.distribution import Event, Numbers, check_positive, positive_parameters
from genmix.densities.normal import LOG_TWO_PI, Scalars


def log_prob(x: Scalars, a: Scalars, b: Scalars) -> Float[Array, "*d"]:
    """Log-density of Beta(a, b) at x, elementwise, in nats.

    -inf outside [0, 1]. At x = 0 it is inf for a < 1, log(b) at a = 1 and -inf for a > 1, and
    likewise at x = 1 with a and b exchanged; the factor that is zero there has no gradient. NaN
    where a parameter is not positive or any argument is NaN.

    Source: Bishop (2006), Pattern Recognition and Machine Learning, appendix B.
    """
    x, a, b = jnp.asarray(x), jnp.asarray(a), jnp.asarray(b)
    outside, at_zero, at_one = (x < 0) | (x > 1), x == 0, x == 1
    # The branch not taken needs a finite gradient; NaN passes through.
    log_x = jnp.log(jnp.where(outside | at_zero, 0.5, x))
    log_1mx = jnp.log1p(-jnp.where(outside | at_one, 0.5, x))
    value = (
        jnp.where(at_zero, gamma.log_zero_power(a - 1), (a - 1) * log_x)
        + jnp.where(at_one, gamma.log_zero_power(b - 1), (b - 1) * log_1mx)
        - log_beta(a, b)
    )
    return jnp.where((a > 0) & (b > 0), jnp.where(outside, -jnp.inf, value), jnp.nan)


def log_beta(a: Scalars, b: Scalars) -> Float[Array, "*d"]:
    """Log of the beta function B(a, b) = Gamma(a) Gamma(b) / Gamma(a + b), elementwise.

    Stirling's formula for the three log-gammas, with its error added back, so that their large
    terms cancel on paper. (jax.scipy's `betaln` is wrong in the eighth digit where a + b > 8.)

    Source: Didonato & Morris (1992), ACM TOMS Algorithm 708, functions BETALN and BCORR.
    """
    a, b = jnp.asarray(a), jnp.asarray(b)
    # Not minimum and maximum, whose gradient where a = b is a mean of both: the second derivative
    # would be wrong there.
    a, b = jnp.where(a <= b, a, b), jnp.where(a <= b, b, a)
    correction = stirling_error(a) + (stirling_error(b) - stirling_error(a + b))
    log_ratio = jnp.log(b) - jnp.log(a)
    leading = 0.5 * (LOG_TWO_PI - jnp.log(b)) - (a - 0.5) * log_ratio
    return correction + leading - (a + b - 0.5) * jnp.log1p(a / b)


def entropy(a: Scalars, b: Scalars) -> Float[Array, "*d"]:
    """Differential entropy of Beta(a, b), elementwise, in nats; NaN for bad parameters."""
    a, b = jnp.asarray(a), jnp.asarray(b)
    value = log_beta(a, b) - (
        (a - 1) * digamma(a) + (b - 1) * digamma(b) - (a + b - 2) * digamma(a + b)
    )
    return jnp.where((a > 0) & (b > 0), value, jnp.nan)


def kl(a_p: Scalars, b_p: Scalars, a_q: Scalars, b_q: Scalars) -> Float[Array, "*d"]:
    """KL(p || q) of p = Beta(a_p, b_p) and q = Beta(a_q, b_q), elementwise, in nats.

    NaN where a parameter is not positive.
    """
    a_p, b_p, a_q, b_q = (jnp.asarray(p) for p in (a_p, b_p, a_q, b_q))
    mean_log_x = digamma(a_p) - digamma(a_p + b_p)
    mean_log_1mx = digamma(b_p) - digamma(a_p + b_p)
    value = (
        (log_beta(a_q, b_q) - log_beta(a_p, b_p))
        + (a_p - a_q) * mean_log_x
        + (b_p - b_q) * mean_log_1mx
    )
    return jnp.where((a_p > 0) & (b_p > 0) & (a_q > 0) & (b_q > 0), value, jnp.nan)


def sample(key: Key[Array, ""], a: Scalars, b: Scalars) -> Float[Array, "*d"]:
    """Draw from Beta(a, b), elementwise; differentiable in both parameters (`sample_logit`).

    A draw closer to 0 than the smallest float or to 1 than eps / 2 is 0 or 1 exactly, with zero
    gradient: at a = b = 1e-3 nearly every one, at a = b = 0.1 in float32 one of ten.
    """
    return jax.nn.sigmoid(sample_logit(key, a, b))


def sample_logit(key: Key[Array, ""], a: Scalars, b: Scalars) -> Float[Array, "*d"]:
    """Draw log(x / (1 - x)) for x ~ Beta(a, b), elementwise, without rounding x to 0 or 1.

    The difference of two log-gamma variables, differentiable in both parameters by their implicit
    derivatives. NaN where a parameter is not positive.
    """
    a, b = jnp.asarray(a), jnp.asarray(b)
    shape = jnp.broadcast_shapes(a.shape, b.shape)
    a_key, b_key = jax.random.split(key)
    log_a = gamma.sample_log(a_key, jnp.broadcast_to(a, shape), 1.0)
    return log_a - gamma.sample_log(b_key, jnp.broadcast_to(b, shape), 1.0)


def stirling_error(a: Array) -> Array:
    """Log Gamma(a) - ((a - 1/2) log(a) - a + log(2 pi) / 2), by a series in 1 / a from 10 on."""
    is_large = a >= 10
    inverse = 1 / jnp.where(is_large, a, 10.0)
    coefficients = np.array(
        [1 / 156, -691 / 360360, 1 / 1188, -1 / 1680, 1 / 1260, -1 / 360, 1 / 12]
    )
    series = inverse * jnp.polyval(coefficients.astype(inverse.dtype), inverse**2, unroll=7)
    small_a = jnp.where(is_large, 1.0, a)
    direct = gammaln(small_a) - (small_a - 0.5) * jnp.log(small_a) + small_a - 0.5 * LOG_TWO_PI
    return jnp.where(is_large, series, direct)


def inside_unit_interval(x: Float[Array, "*d"]) -> Float[Array, "*d"]:
    """x with 0 and 1, to which draws may be rounded, moved to the nearest floats between them."""
    info = jnp.finfo(x.dtype)
    return jnp.clip(x, info.tiny, 1 - info.epsneg)


class Parameters(NamedTuple):
    """Of one entry or several."""

    a: Float[Array, "..."]
    b: Float[Array, "..."]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Beta:
    """Numbers in (0, 1), by two numbers each: a and b, made positive by softplus.

    A draw that rounds to 0 or 1 is the nearest float between them, where the density is finite: in
    float32 one of 6,000 at b = 0.5, and one of ten at a = b = 0.1.

    Args:
        a: the same for all, so that a number less is left; likewise b.
        smallest: what is added to the softplus of either.
    """

    a: float | None = None
    b: float | None = None
    smallest: float = 0.1
    entry_shape = ()

    def __post_init__(self):
        check_positive(a=self.a, b=self.b, smallest=self.smallest)

    @property
    def num_parameters(self) -> int:
        return (self.a, self.b).count(None)

    def parameters(self, numbers: Numbers) -> Parameters:
        return Parameters(*positive_parameters(numbers, (self.a, self.b), self.smallest))

    def log_prob(self, x: Event, numbers: Numbers) -> Float[Array, ""]:
        return jnp.sum(log_prob(x, *self.parameters(numbers)))

    def sample(self, key: Key[Array, ""], numbers: Numbers) -> Event:
        return inside_unit_interval(sample(key, *self.parameters(numbers)))

    def sample_and_log_prob(
        self, key: Key[Array, ""], numbers: Numbers
    ) -> tuple[Event, Float[Array, ""]]:
        x = self.sample(key, numbers)
        return x, self.log_prob(x, numbers)

    def mean(self, numbers: Numbers) -> Event:
        a, b = self.parameters(numbers)
        return a / (a + b)

    def kl(self, p: Parameters, q: Parameters) -> Float[Array, "*entries"]:
        return kl(*p, *q)
