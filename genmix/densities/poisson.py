"""The Poisson distribution of counts 0, 1, 2, ... by its rate, elementwise."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Key, Shaped

from genmix.densities.beta import stirling_error
from genmix.densities.distribution import Event, Numbers, check_positive
from genmix.densities.normal import LOG_TWO_PI, Scalars

LARGEST_RATE = 1e9  # that is drawn: beyond it, 32 bits do not hold the counts


def log_prob(x: Shaped[ArrayLike, "*#d"], rate: Scalars) -> Float[Array, "*d"]:
    """Log-probability of the count x, of any dtype, elementwise, in nats.

    -inf with zero gradient where x is no count; at rate 0 all mass is at 0. NaN where the rate is
    negative or infinite, or an argument is NaN. No gradient in x. Large terms cancel on paper, not
    in floats: the error is that of |x - rate|, not of x log(x).

    Source: Loader (2000), Fast and accurate computation of binomial probabilities, for the form.
    """
    rate = jnp.asarray(rate)
    x = jax.lax.stop_gradient(jnp.asarray(x).astype(rate.dtype))
    outside = is_outside(x)
    is_zero = outside | (x == 0)
    count = jnp.where(is_zero, 1.0, x)
    # log x! = x log(x) - x + log(2 pi x) / 2 + its error, and x log(rate) - rate with the first two
    at_count = -_deviance(count, rate) - 0.5 * (LOG_TWO_PI + jnp.log(count)) - stirling_error(count)
    value = jnp.where(is_zero, -rate, at_count)
    valid = (rate >= 0) & (rate < jnp.inf) & ~jnp.isnan(x)
    return jnp.where(valid, jnp.where(outside, -jnp.inf, value), jnp.nan)


def is_outside(x: Shaped[Array, "*d"]) -> Bool[Array, "*d"]:
    """Whether x is a number but no count; False at NaN."""
    return (x < 0) | (x == jnp.inf) | ((x != jnp.floor(x)) & ~jnp.isnan(x))


def _deviance(x: Array, rate: Array) -> Array:
    """x log(x / rate) + rate - x for x > 0; inf at rate 0."""
    is_small = rate < 0.5 * x  # from here on log1p would add to the rounding
    near = (jnp.where(is_small, x, rate) - x) / x
    far_rate = jnp.where(is_small & (rate > 0), rate, x)
    far = x * (jnp.log(x) - jnp.log(far_rate)) + far_rate - x  # the ratio may overflow
    value = jnp.where(is_small, far, x * (near - jnp.log1p(near)))
    return jnp.where(rate == 0, jnp.inf, value)


def sample(key: Key[Array, ""], rate: Scalars) -> Float[Array, "*d"]:
    """One count per element, in the rate's dtype; no gradient.

    NaN where the rate is negative, NaN or above 1e9.
    """
    rate = jnp.asarray(rate)
    valid = (rate >= 0) & (rate <= LARGEST_RATE)
    count = jax.random.poisson(key, jnp.where(valid, rate, 1.0))
    return jnp.where(valid, count.astype(rate.dtype), jnp.nan)


def kl(rate_p: Scalars, rate_q: Scalars) -> Float[Array, "*d"]:
    """KL(p || q), elementwise, in nats.

    inf where rate_q is 0 and rate_p is not; NaN where a rate is negative, infinite or NaN.
    """
    rate_p, rate_q = jnp.asarray(rate_p), jnp.asarray(rate_q)
    is_zero = rate_p == 0
    value = jnp.where(is_zero, rate_q, _deviance(jnp.where(is_zero, 1.0, rate_p), rate_q))
    valid = (rate_p >= 0) & (rate_p < jnp.inf) & (rate_q >= 0) & (rate_q < jnp.inf)
    return jnp.where(valid, value, jnp.nan)


class Parameters(NamedTuple):
    """Of one entry or several."""

    rate: Float[Array, "..."]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Poisson:
    """Counts, by one number each: raw, with rate = min_rate + softplus(raw)."""

    min_rate: float = 1e-6
    entry_shape = ()
    num_parameters = num_features = 1

    def __post_init__(self):
        check_positive(min_rate=self.min_rate)

    def features(self, x: Event) -> Float[Array, "*entries features"]:
        """log(1 + x)."""
        return count_features(x)

    def parameters(self, numbers: Numbers) -> Parameters:
        return Parameters(self.min_rate + jax.nn.softplus(numbers[..., 0]))

    def log_prob(self, x: Event, numbers: Numbers) -> Float[Array, ""]:
        return jnp.sum(log_prob(x, *self.parameters(numbers)))

    def sample(self, key: Key[Array, ""], numbers: Numbers) -> Event:
        return sample(key, *self.parameters(numbers))

    def mean(self, numbers: Numbers) -> Event:
        return self.parameters(numbers).rate

    def kl(self, p: Parameters, q: Parameters) -> Float[Array, "*entries"]:
        return kl(*p, *q)


def count_features(x: Event) -> Float[Array, "*entries features"]:
    """log(1 + x), without a gradient: how counts enter a network."""
    dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else jnp.result_type(float)
    return jax.lax.stop_gradient(jnp.log1p(x.astype(dtype)))[..., None]
