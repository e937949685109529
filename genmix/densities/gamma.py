"""The gamma distribution with concentration a and rate b: mean a / b, variance a / b**2.

At large concentration the terms of `log_prob`, `entropy` and `kl` cancel: their error is about
eps * a * log(a), in float32 0.01 nat at a = 1e4 and 1 nat at a = 1e6; where a * log(a) is beyond
the largest float (a = 4e36 in float32) they are NaN or infinite.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import digamma, gammaln
from jaxtyping import Array, Float, Key

from genmix.densities.distribution import Event, Numbers, check_positive, positive_parameters
from genmix.densities.normal import Scalars


def log_prob(x: Scalars, concentration: Scalars, rate: Scalars) -> Float[Array, "*d"]:
    """Log-density of Gamma(concentration, rate) at x, elementwise, in nats.

    -inf where x < 0 or x = inf. At x = 0 it is inf for concentration < 1, log(rate) at 1 and
    -inf above 1, and the factor x**(concentration - 1) has no gradient there. NaN where a
    parameter is not positive or any argument is NaN.

    Source: Bishop (2006), Pattern Recognition and Machine Learning, appendix B.
    """
    x, a, b = jnp.asarray(x), jnp.asarray(concentration), jnp.asarray(rate)
    outside, at_zero = (x < 0) | (x == jnp.inf), x == 0  # both False for NaN: it passes through
    inner_x = jnp.where(outside | at_zero, 1.0, x)  # the branch not taken needs a finite gradient
    log_power = jnp.where(at_zero, log_zero_power(a - 1), (a - 1) * jnp.log(inner_x))
    value = a * jnp.log(b) - gammaln(a) + log_power - b * jnp.where(outside, 1.0, x)
    return jnp.where((a > 0) & (b > 0), jnp.where(outside, -jnp.inf, value), jnp.nan)


def log_zero_power(exponent: Float[Array, "*d"]) -> Float[Array, "*d"]:
    """The limit of log(x**exponent) as x falls to 0: inf, 0 or -inf, with zero gradient."""
    return jnp.where(exponent == 0, 0.0, jnp.where(exponent < 0, jnp.inf, -jnp.inf))


def entropy(concentration: Scalars, rate: Scalars) -> Float[Array, "*d"]:
    """Differential entropy of Gamma(concentration, rate), elementwise, in nats.

    NaN where a parameter is not positive.
    """
    a, b = jnp.asarray(concentration), jnp.asarray(rate)
    value = a - jnp.log(b) + gammaln(a) + (1 - a) * digamma(a)
    return jnp.where((a > 0) & (b > 0), value, jnp.nan)


def kl(
    concentration_p: Scalars, rate_p: Scalars, concentration_q: Scalars, rate_q: Scalars
) -> Float[Array, "*d"]:
    """KL(p || q) of two gamma distributions, elementwise, in nats; NaN for bad parameters.

    Source: Penny (2001), KL-divergences of Normal, Gamma, Dirichlet and Wishart densities.
    """
    a_p, b_p = jnp.asarray(concentration_p), jnp.asarray(rate_p)
    a_q, b_q = jnp.asarray(concentration_q), jnp.asarray(rate_q)
    value = (
        (a_p - a_q) * digamma(a_p)
        + (gammaln(a_q) - gammaln(a_p))
        + a_q * (jnp.log(b_p) - jnp.log(b_q))
        + a_p * ((b_q - b_p) / b_p)
    )
    return jnp.where((a_p > 0) & (b_p > 0) & (a_q > 0) & (b_q > 0), value, jnp.nan)


def sample(key: Key[Array, ""], concentration: Scalars, rate: Scalars) -> Float[Array, "*d"]:
    """Draw from Gamma(concentration, rate), elementwise; differentiable in both parameters.

    It is exp(`sample_log`), so a draw below the smallest float is exactly 0, where `log_prob` and
    its gradient say little: at concentration 1e-3 that is 9 draws of 10 in float32 and half of
    them in float64. Use `sample_log` there.
    """
    return jnp.exp(sample_log(key, concentration, rate))


def sample_log(key: Key[Array, ""], concentration: Scalars, rate: Scalars) -> Float[Array, "*d"]:
    """Draw the logarithm of a Gamma(concentration, rate) variable, elementwise.

    Differentiable in both parameters: in the rate exactly, in the concentration by implicit
    differentiation of the CDF; in float32 that derivative has a relative error below 1e-3 up to
    concentration 1e4 and about 1e-2 at 1e5. Never underflows. NaN where a parameter is not
    positive.

    Source: Figurnov, Mohamed & Mnih (2018), arXiv:1805.08498, section 3 and appendix.
    """
    a, b = jnp.asarray(concentration), jnp.asarray(rate)
    shape = jnp.broadcast_shapes(a.shape, b.shape)
    a = jnp.broadcast_to(a, shape)
    standard = jax.random.loggamma(key, lax.stop_gradient(a), dtype=jnp.result_type(a, b))
    value = _with_implicit_gradient(standard, a) - jnp.log(b)
    return jnp.where((a > 0) & (b > 0), value, jnp.nan)  # the sampler itself accepts a < 0


@jax.custom_jvp
def _with_implicit_gradient(log_x: Array, a: Array) -> Array:
    """Return log_x, the log of a Gamma(a, 1) draw, with its derivative in a attached."""
    return log_x


@_with_implicit_gradient.defjvp
def _with_implicit_gradient_jvp(primals, tangents):
    """Implicit derivative of log x in a: -(dF/da) / (x p(x)), for the CDF F and the density p.

    JAX's own rule for `loggamma` replaces an x that underflows by the smallest float; for those
    F = x**a / Gamma(a + 1) * (1 + O(x)), which gives the derivative from log x alone.
    """
    log_x, a = primals
    eps = jnp.finfo(log_x.dtype).eps
    x = jnp.maximum(jnp.exp(log_x), eps)
    # Its decorator fills in dtype, which the type checker cannot see.
    dx_da = lax.random_gamma_grad(a, x)  # pyright: ignore[reportCallIssue]
    slope = jnp.where(x > eps, dx_da / x, (digamma(a + 1) - log_x) / a)
    return log_x, slope * tangents[1]


class Parameters(NamedTuple):
    """Of one entry or several."""

    concentration: Float[Array, "..."]
    rate: Float[Array, "..."]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gamma:
    """Positive numbers, by two numbers each: concentration and rate, made positive by softplus.

    A draw below the smallest normal float is that float, where the density is finite. So large
    concentrations are drawn exactly, and at 0.1 one float32 draw of 6,000 is moved.

    Args:
        concentration: the same for all, so that a number less is left; likewise rate.
        smallest: what is added to the softplus of either.
    """

    concentration: float | None = None
    rate: float | None = None
    smallest: float = 0.1
    entry_shape = ()

    def __post_init__(self):
        check_positive(concentration=self.concentration, rate=self.rate, smallest=self.smallest)

    @property
    def num_parameters(self) -> int:
        return (self.concentration, self.rate).count(None)

    def parameters(self, numbers: Numbers) -> Parameters:
        given = (self.concentration, self.rate)
        return Parameters(*positive_parameters(numbers, given, self.smallest))

    def log_prob(self, x: Event, numbers: Numbers) -> Float[Array, ""]:
        return jnp.sum(log_prob(x, *self.parameters(numbers)))

    def sample(self, key: Key[Array, ""], numbers: Numbers) -> Event:
        x = sample(key, *self.parameters(numbers))
        return jnp.maximum(x, jnp.finfo(x.dtype).tiny)

    def sample_and_log_prob(
        self, key: Key[Array, ""], numbers: Numbers
    ) -> tuple[Event, Float[Array, ""]]:
        x = self.sample(key, numbers)
        return x, self.log_prob(x, numbers)

    def mean(self, numbers: Numbers) -> Event:
        concentration, rate = self.parameters(numbers)
        return concentration / rate

    def kl(self, p: Parameters, q: Parameters) -> Float[Array, "*entries"]:
        return kl(*p, *q)
