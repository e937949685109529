"""The Gumbel-softmax, or Concrete: x = softmax((logits + Gumbel noise) / temperature).

It tends to a one-hot draw from Categorical(logits) as the temperature falls to 0. Training works
on log x, which does not underflow. The relaxed Bernoulli is the case of two categories.
"""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key

from genmix.densities.dirichlet import off_simplex
from genmix.densities.distribution import (
    Event,
    Numbers,
    check_positive,
    sample_entries,
    sum_entries,
)
from genmix.densities.multivariate_normal import Vector, check_shape


def log_prob(x: Vector, logits: Vector, temperature: Float[ArrayLike, ""]) -> Float[Array, ""]:
    """Log-density at x on the simplex, in nats, per volume of the first n - 1 entries.

    -inf with zero gradient off the open simplex: where x has an entry of 0 (as draws at low
    temperature have, by underflow) or `dirichlet.off_simplex` holds. The gradient in x takes the
    entries as free. NaN if the temperature is not positive or any argument is NaN.

    Raises:
        ValueError: if x does not fit logits.

    Source: Maddison, Mnih & Teh (2017), arXiv:1611.00712, definition 1.
    """
    check_shape("x", x, logits.shape)
    outside = (jnp.any(x == 0) & ~jnp.any(jnp.isnan(x))) | off_simplex(x)
    log_x = jnp.log(jnp.where(outside, 1.0, x))
    value = _log_concrete(log_x, logits, temperature) - jnp.sum(log_x)
    return jnp.where(outside & ~jnp.isnan(value), -jnp.inf, value)


def log_prob_of_log(
    y: Vector, logits: Vector, temperature: Float[ArrayLike, ""]
) -> Float[Array, ""]:
    """Log-density of y = log x, in nats, relative to dy_1 ... dy_(n-1) / x_n ("ExpConcrete").

    In that measure it is `log_prob` of x plus the sum of y. -inf with zero gradient where y has an
    entry of -inf or exp(y) is off the simplex. NaN if the temperature is not positive or any
    argument is NaN.

    Raises:
        ValueError: if y does not fit logits.

    Source: Maddison, Mnih & Teh (2017), arXiv:1611.00712, appendix C.
    """
    check_shape("y", y, logits.shape)
    outside = (jnp.any(y == -jnp.inf) & ~jnp.any(jnp.isnan(y))) | off_simplex(jnp.exp(y))
    value = _log_concrete(jnp.where(outside, 0.0, y), logits, temperature)
    return jnp.where(outside & ~jnp.isnan(value), -jnp.inf, value)


def sample(
    key: Key[Array, ""], logits: Float[Array, " n"], temperature: Float[ArrayLike, ""]
) -> Float[Array, " n"]:
    """Draw a point of the simplex; differentiable in logits and temperature.

    Entries below the smallest float are 0 exactly: see `sample_log`. NaN if temperature <= 0.
    """
    return _nan_unless_positive(temperature, jnp.exp(sample_log(key, logits, temperature)))


def sample_log(
    key: Key[Array, ""], logits: Float[Array, " n"], temperature: Float[ArrayLike, ""]
) -> Float[Array, " n"]:
    """Draw y = log x; differentiable in logits and temperature. NaN if temperature <= 0."""
    return jax.nn.log_softmax(_sample_unnormalized(key, logits, temperature))


def straight_through(
    key: Key[Array, ""], logits: Float[Array, " n"], temperature: Float[ArrayLike, ""]
) -> Float[Array, " n"]:
    """Draw a one-hot vector from Categorical(logits) with the gradient of the relaxed draw.

    Exact in value, biased in gradient. NaN if the temperature is not positive.

    Source: Jang, Gu & Poole (2017), arXiv:1611.01144, section 2.2.
    """
    y = _sample_unnormalized(key, logits, temperature)
    soft = jax.nn.softmax(y)
    # The largest of y: at high temperature soft rounds to ties.
    hard = jax.nn.one_hot(jnp.argmax(y), logits.size, dtype=soft.dtype)
    return _nan_unless_positive(temperature, hard + (soft - jax.lax.stop_gradient(soft)))


class Parameters(NamedTuple):
    """Of one entry, a vector, or several."""

    logits: Float[Array, "*entries n"]
    temperature: Float[Array, "*entries"]


@dataclasses.dataclass(frozen=True)
class GumbelSoftmax:
    """Probability vectors, by a logit for each class: one-hot vectors with a gradient.

    An entry that rounds to 0 is the smallest normal float, where the density is finite and the
    gradient of the draw 0.
    """

    num_classes: int
    temperature: float

    def __post_init__(self):
        if self.num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, got {self.num_classes}.")
        check_positive(temperature=self.temperature)

    @property
    def entry_shape(self) -> tuple[int, ...]:
        return (self.num_classes,)

    @property
    def num_parameters(self) -> int:
        return self.num_classes

    def parameters(self, numbers: Numbers) -> Parameters:
        return Parameters(numbers, jnp.full_like(numbers[..., 0], self.temperature))

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


def _sample_unnormalized(key: Array, logits: Array, temperature: Float[ArrayLike, ""]) -> Array:
    perturbed = logits + jax.random.gumbel(key, logits.shape, logits.dtype)
    # Less the largest before the division, so that this one is 0 however XLA rounds the quotient,
    # which it computes twice: at 1e10 two roundings differ by a thousand nats in float32.
    below = perturbed - jax.lax.stop_gradient(jnp.max(perturbed))
    return _nan_unless_positive(temperature, below / jnp.asarray(temperature))


def _nan_unless_positive(temperature: Float[ArrayLike, ""], value: Array) -> Array:
    # To be applied last: the exp of a NaN that a `where` has put there is any number on CPUs, in
    # jitted float32 (jaxlib 0.10.1, jax-ml/jax #29537).
    return jnp.where(jnp.asarray(temperature) > 0, value, jnp.nan)


def _log_concrete(y: Array, logits: Array, temperature: Float[ArrayLike, ""]) -> Array:
    """Log of [(n - 1)! t**(n - 1) prod_k softmax(logits - t y)_k], with y = log x."""
    temperature = jnp.asarray(temperature)
    num = logits.size
    value = (
        math.lgamma(num)
        + (num - 1) * jnp.log(temperature)
        + jnp.sum(jax.nn.log_softmax(logits - temperature * y))
    )
    return jnp.where(temperature > 0, value, jnp.nan)
