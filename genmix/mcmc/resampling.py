"""Resampling schemes: n ancestors from n weights, with n * weight copies of each in expectation.

Each takes a key and log-weights [n], not normalized, and never chooses a particle of weight zero.
Where no choice is defined, since all weights are zero or one is NaN or infinite, each particle is
its own ancestor.

Source: Douc, Cappe & Moulines (2005), arXiv:cs/0507025, section 2.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

Resample = Callable[[Key[Array, ""], Float[Array, " n"]], Int[Array, " n"]]


def multinomial(key: Key[Array, ""], log_weights: Float[Array, " n"]) -> Int[Array, " n"]:
    """Independent ancestors."""
    uniform = jax.random.uniform(key, log_weights.shape, log_weights.dtype)
    return _invert(jax.nn.softmax(log_weights), uniform)


def stratified(key: Key[Array, ""], log_weights: Float[Array, " n"]) -> Int[Array, " n"]:
    """One ancestor from each nth of the distribution."""
    uniform = jax.random.uniform(key, log_weights.shape, log_weights.dtype)
    return _invert(jax.nn.softmax(log_weights), _strata(uniform))


def systematic(key: Key[Array, ""], log_weights: Float[Array, " n"]) -> Int[Array, " n"]:
    """As stratified, at the same place in each nth: one random number."""
    uniform = jax.random.uniform(key, dtype=log_weights.dtype)
    return _invert(jax.nn.softmax(log_weights), _strata(jnp.full(log_weights.shape, uniform)))


def residual(key: Key[Array, ""], log_weights: Float[Array, " n"]) -> Int[Array, " n"]:
    """The whole part of n * weight copies of each, and independent ancestors for the rest."""
    num = log_weights.shape[0]
    expected = num * jax.nn.softmax(log_weights)
    copies = jnp.floor(expected)
    place = jnp.arange(num, dtype=copies.dtype)
    cumulative = jnp.cumsum(copies)
    kept = jnp.searchsorted(cumulative, place, side="right")
    uniform = jax.random.uniform(key, log_weights.shape, log_weights.dtype)
    drawn = _invert(expected - copies, uniform)
    return jnp.where(place < cumulative[-1], kept, drawn)


def _strata(uniform: Array) -> Array:
    num = uniform.shape[0]
    return (jnp.arange(num, dtype=uniform.dtype) + uniform) / num


def _invert(weights: Array, uniform: Array) -> Array:
    cumulative = jnp.cumsum(weights)
    # Rounding may bring a product up to the total, which no particle has below it.
    below = jnp.nextafter(cumulative[-1], jnp.zeros((), cumulative.dtype))
    places = jnp.minimum(uniform * cumulative[-1], below)
    chosen = jnp.searchsorted(cumulative, places, side="right")
    return jnp.where(cumulative[-1] > 0, chosen, jnp.arange(weights.shape[0]))
