"""The relaxed Bernoulli, or binary Concrete: x = sigmoid((logits + logistic noise) / temperature).

It tends to Bernoulli(sigmoid(logits)) as the temperature falls to 0. Training works on the logit
y = log(x / (1 - x)), which does not saturate: at temperature 0.1 float32 rounds many x to 1.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from genmix.densities.beta import inside_unit_interval
from genmix.densities.distribution import Event, Numbers, check_positive
from genmix.densities.normal import Scalars


def log_prob(x: Scalars, logits: Scalars, temperature: Scalars) -> Float[Array, "*d"]:
    """Log-density of the relaxed Bernoulli at x, elementwise, in nats.

    -inf with zero gradient outside the open interval (0, 1), its ends included. NaN where the
    temperature is not positive or any argument is NaN.

    Source: Maddison, Mnih & Teh (2017), arXiv:1611.00712, appendix B.
    """
    x = jnp.asarray(x)
    outside = (x <= 0) | (x >= 1)  # False for NaN, so NaN passes through
    inner_x = jnp.where(outside, 0.5, x)  # the branch not taken needs a finite gradient
    log_x, log_1mx = jnp.log(inner_x), jnp.log1p(-inner_x)
    value = log_prob_of_logit(log_x - log_1mx, logits, temperature) - log_x - log_1mx
    return jnp.where(outside & ~jnp.isnan(value), -jnp.inf, value)


def log_prob_of_logit(y: Scalars, logits: Scalars, temperature: Scalars) -> Float[Array, "*d"]:
    """Log-density of y = log(x / (1 - x)) for x relaxed Bernoulli, elementwise, in nats.

    A logistic density with location logits / temperature and scale 1 / temperature. -inf with zero
    gradient at y = +-inf. NaN where the temperature is not positive or any argument is NaN.

    Source: Maddison, Mnih & Teh (2017), arXiv:1611.00712, appendix C.
    """
    y, logits, temperature = jnp.asarray(y), jnp.asarray(logits), jnp.asarray(temperature)
    outside = jnp.isinf(y)
    # The logistic density sigmoid'(noise) is even, and exp(-size) cannot overflow.
    size = jnp.abs(temperature * jnp.where(outside, 0.0, y) - logits)
    value = jnp.log(temperature) - size - 2 * jnp.log1p(jnp.exp(-size))
    value = jnp.where(outside & ~jnp.isnan(value), -jnp.inf, value)
    return jnp.where(temperature > 0, value, jnp.nan)


def sample(key: Key[Array, ""], logits: Scalars, temperature: Scalars) -> Float[Array, "*d"]:
    """Draw from the relaxed Bernoulli, elementwise; differentiable in both parameters.

    Where |y| is large it rounds to 0 or 1, with zero gradient and `log_prob` -inf: see
    `sample_logit`.
    """
    return jax.nn.sigmoid(sample_logit(key, logits, temperature))


def sample_logit(key: Key[Array, ""], logits: Scalars, temperature: Scalars) -> Float[Array, "*d"]:
    """Draw y = log(x / (1 - x)), elementwise; differentiable in both parameters.

    NaN where the temperature is not positive.
    """
    logits, temperature = jnp.asarray(logits), jnp.asarray(temperature)
    shape = jnp.broadcast_shapes(logits.shape, temperature.shape)
    noise = jax.random.logistic(key, shape, jnp.result_type(logits, temperature))
    return jnp.where(temperature > 0, (logits + noise) / temperature, jnp.nan)


def straight_through(
    key: Key[Array, ""], logits: Scalars, temperature: Scalars
) -> Float[Array, "*d"]:
    """Draw 0.0 or 1.0 from Bernoulli(sigmoid(logits)) with the gradient of the relaxed draw.

    Exact in value, biased in gradient.

    Source: Jang, Gu & Poole (2017), arXiv:1611.01144, section 2.2.
    """
    y = sample_logit(key, logits, temperature)
    soft = jax.nn.sigmoid(y)
    hard = jnp.where(jnp.isnan(y), y, y > 0)
    return jax.lax.stop_gradient(hard) + (soft - jax.lax.stop_gradient(soft))


class Parameters(NamedTuple):
    """Of one entry or several."""

    logits: Float[Array, "..."]
    temperature: Float[Array, "..."]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RelaxedBernoulli:
    """Numbers in (0, 1), by one logit each: bits with a gradient.

    A draw that rounds to 0 or 1 is the nearest float between them, where the density is finite and
    the gradient of the draw 0.
    """

    temperature: float
    entry_shape = ()
    num_parameters = 1

    def __post_init__(self):
        check_positive(temperature=self.temperature)

    def parameters(self, numbers: Numbers) -> Parameters:
        logits = numbers[..., 0]
        return Parameters(logits, jnp.full_like(logits, self.temperature))

    def log_prob(self, x: Event, numbers: Numbers) -> Float[Array, ""]:
        return jnp.sum(log_prob(x, *self.parameters(numbers)))

    def sample(self, key: Key[Array, ""], numbers: Numbers) -> Event:
        return inside_unit_interval(sample(key, *self.parameters(numbers)))

    def sample_and_log_prob(
        self, key: Key[Array, ""], numbers: Numbers
    ) -> tuple[Event, Float[Array, ""]]:
        x = self.sample(key, numbers)
        return x, self.log_prob(x, numbers)
