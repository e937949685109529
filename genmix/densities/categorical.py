"""Categorical distribution over the indices 0..n-1 by its logits; one event."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int32, Integer, Key

from genmix.densities.bernoulli import mass_times
from genmix.densities.discretized_logistic import check_num_levels, scaled
from genmix.densities.distribution import Event, Numbers, sum_entries
from genmix.densities.multivariate_normal import check_shape

Logits = Float[Array, " _"]


def log_prob(x: Integer[ArrayLike, ""], logits: Logits) -> Float[Array, ""]:
    """Log-probability of the index x under softmax(logits [n]), in nats.

    -inf with zero gradient where x is not in 0..n-1, and -inf where the logit of x is -inf. NaN
    where a logit is NaN or inf, or all are -inf.
    Source: Bishop (2006), Pattern Recognition and Machine Learning, section 2.2.
    """
    x = jnp.asarray(x)
    inside = (x >= 0) & (x < logits.size)
    value = jax.nn.log_softmax(logits)[jnp.where(inside, x, 0)]
    return jnp.where(inside | jnp.isnan(value), value, -jnp.inf)


def sample(key: Key[Array, ""], logits: Logits) -> Int32[Array, ""]:
    """One draw, an index; no gradient.

    An integer cannot say NaN: where `log_prob` is NaN, the index means nothing.
    """
    return jax.random.categorical(key, logits).astype(jnp.int32)


def entropy(logits: Logits) -> Float[Array, ""]:
    """Entropy in nats; logits of -inf are allowed (0 log 0 = 0), NaN where `log_prob` is."""
    log_p = jax.nn.log_softmax(logits)
    return -jnp.sum(mass_times(jnp.exp(log_p), log_p))


def kl(logits_p: Logits, logits_q: Logits) -> Float[Array, ""]:
    """KL(p || q) in nats, with 0 log 0 = 0.

    inf where q gives probability 0 (a logit of -inf) to an index that p does not; a probability of
    p that underflows counts as 0. NaN where the log-probability of p or q is.

    Raises:
        ValueError: if the two differ in their number of logits.
    """
    check_shape("logits_q", logits_q, logits_p.shape)
    log_p, log_q = jax.nn.log_softmax(logits_p), jax.nn.log_softmax(logits_q)
    return jnp.sum(mass_times(jnp.exp(log_p), log_p - log_q))


class Parameters(NamedTuple):
    """Of one entry or several; the last axis is that of the classes."""

    logits: Float[Array, "*entries n"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Categorical:
    """Integers 0, ..., num_levels - 1, by a logit for each of them.

    Args:
        one_hot: they enter a network as indicators, not as numbers: for codes without an order.
    """

    num_levels: int
    one_hot: bool = False
    entry_shape = ()

    def __post_init__(self):
        check_num_levels(self.num_levels)

    @property
    def num_parameters(self) -> int:
        return self.num_levels

    @property
    def num_features(self) -> int:
        return self.num_levels if self.one_hot else 1

    def features(self, x: Event) -> Float[Array, "*entries features"]:
        """Indicators, or levels on [-1, 1]."""
        _check_integers(x)
        if self.one_hot:
            return jax.nn.one_hot(x, self.num_levels)
        return scaled(x, self.num_levels)[..., None]

    def parameters(self, numbers: Numbers) -> Parameters:
        return Parameters(numbers)

    def log_prob(self, x: Event, numbers: Numbers) -> Float[Array, ""]:
        _check_integers(x)
        return sum_entries(log_prob, x, numbers)

    def sample(self, key: Key[Array, ""], numbers: Numbers) -> Event:
        return jax.random.categorical(key, numbers).astype(jnp.int32)

    def mean(self, numbers: Numbers) -> Event:
        """Of the levels as numbers."""
        return jax.nn.softmax(numbers) @ jnp.arange(self.num_levels, dtype=numbers.dtype)

    def kl(self, p: Parameters, q: Parameters) -> Float[Array, "*entries"]:
        return _kl_of_entries(p, q)


@dataclasses.dataclass(frozen=True)
class OneHot:
    """A vector with a one in the place of its class, by a logit for each class."""

    num_classes: int

    def __post_init__(self):
        if self.num_classes < 1:
            raise ValueError(f"num_classes must be positive, got {self.num_classes}.")

    @property
    def entry_shape(self) -> tuple[int, ...]:
        return (self.num_classes,)

    @property
    def num_parameters(self) -> int:
        return self.num_classes

    def parameters(self, numbers: Numbers) -> Parameters:
        return Parameters(numbers)

    def log_prob(self, x: Event, numbers: Numbers) -> Float[Array, ""]:
        """Log-probability, in nats, and a linear function of x between the corners.

        So a soft x has a gradient too, and minus this its cross-entropy.
        """
        return jnp.sum(jnp.where(x == 0, 0.0, x * jax.nn.log_softmax(numbers)))

    def sample(self, key: Key[Array, ""], numbers: Numbers) -> Event:
        i = jax.random.categorical(key, numbers)
        return jax.nn.one_hot(i, self.num_classes, dtype=numbers.dtype)

    def mean(self, numbers: Numbers) -> Event:
        return jax.nn.softmax(numbers)

    def kl(self, p: Parameters, q: Parameters) -> Float[Array, "*entries"]:
        return _kl_of_entries(p, q)


def _kl_of_entries(p: Parameters, q: Parameters) -> Float[Array, "*entries"]:
    *entries, num = p.logits.shape
    return jax.vmap(kl)(p.logits.reshape(-1, num), q.logits.reshape(-1, num)).reshape(entries)


def _check_integers(x: Event) -> None:
    if not jnp.issubdtype(x.dtype, jnp.integer):
        raise TypeError(
            f"Categorical is of integers, got x of {x.dtype}: use x.astype(int), or OneHot."
        )
