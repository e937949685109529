"""The negative binomial distribution of counts, by its mean and concentration, elementwise.

A Poisson distribution whose rate is Gamma(concentration, concentration / mean): its variance is
mean + mean^2 / concentration, and large concentrations make it Poisson.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key, Shaped

from genmix.densities import gamma, poisson
from genmix.densities.beta import log_beta
from genmix.densities.distribution import Event, Numbers, check_positive, positive_parameters
from genmix.densities.normal import Scalars


def log_prob(
    x: Shaped[ArrayLike, "*#d"], mean: Scalars, concentration: Scalars
) -> Float[Array, "*d"]:
    """Log-probability of the count x, of any dtype, elementwise, in nats.

    -inf with zero gradient where x is no count; at mean 0 all mass is at 0. NaN where the mean is
    negative, the concentration not positive, one of them infinite, or an argument is NaN. No
    gradient in x.

    Source: Hilbe (2011), Negative Binomial Regression, equation 8.8 (NB2).
    """
    mean, concentration = jnp.asarray(mean), jnp.asarray(concentration)
    dtype = jnp.result_type(mean, concentration)
    x = jax.lax.stop_gradient(jnp.asarray(x).astype(dtype))
    outside = poisson.is_outside(x)
    is_zero = outside | (x == 0)
    count = jnp.where(is_zero, 1.0, x)
    # Gamma(x + r) / (Gamma(r) x!) = 1 / (x B(r, x)), and x log(m / (r + m)) = -x log(1 + r / m)
    log_ways = -log_beta(concentration, count) - jnp.log(count)
    safe_mean = jnp.where(mean > 0, mean, 1.0)
    odds = jnp.where(mean > 0, jnp.log1p(concentration / safe_mean), jnp.inf)
    value = jnp.where(is_zero, 0.0, log_ways - count * odds)
    value -= concentration * jnp.log1p(mean / concentration)
    valid = (mean >= 0) & (mean < jnp.inf) & (concentration > 0) & (concentration < jnp.inf)
    valid &= ~jnp.isnan(x)
    return jnp.where(valid, jnp.where(outside, -jnp.inf, value), jnp.nan)


def sample(key: Key[Array, ""], mean: Scalars, concentration: Scalars) -> Float[Array, "*d"]:
    """One count per element, in the parameters' dtype; no gradient.

    NaN where `log_prob` is, and where the rate that is drawn is above 1e9.
    """
    mean, concentration = jnp.asarray(mean), jnp.asarray(concentration)
    rate_key, count_key = jax.random.split(key)
    relative = gamma.sample(rate_key, concentration, concentration)
    return poisson.sample(count_key, jax.lax.stop_gradient(mean * relative))


class Parameters(NamedTuple):
    """Of one entry or several."""

    mean: Float[Array, "..."]
    concentration: Float[Array, "..."]


@dataclasses.dataclass(frozen=True, kw_only=True)
class NegativeBinomial:
    """Counts, by two numbers each: the mean and the concentration, made positive by softplus.

    Args:
        concentration: the same for all, so that the mean alone is left; by the second number if
            None.
        smallest: what is added to the softplus of either.
    """

    concentration: float | None = None
    smallest: float = 1e-6
    entry_shape = ()
    num_features = 1

    def __post_init__(self):
        check_positive(concentration=self.concentration, smallest=self.smallest)

    @property
    def num_parameters(self) -> int:
        return 2 if self.concentration is None else 1

    def features(self, x: Event) -> Float[Array, "*entries features"]:
        """log(1 + x)."""
        return poisson.count_features(x)

    def parameters(self, numbers: Numbers) -> Parameters:
        given = (None, self.concentration)
        return Parameters(*positive_parameters(numbers, given, self.smallest))

    def log_prob(self, x: Event, numbers: Numbers) -> Float[Array, ""]:
        return jnp.sum(log_prob(x, *self.parameters(numbers)))

    def sample(self, key: Key[Array, ""], numbers: Numbers) -> Event:
        return sample(key, *self.parameters(numbers))

    def mean(self, numbers: Numbers) -> Event:
        return self.parameters(numbers).mean
