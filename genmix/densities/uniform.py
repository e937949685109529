"""Uniform distribution on an interval, elementwise."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key

Scalars = Float[ArrayLike, "*#d"]


def log_prob(x: Scalars, low: Scalars, high: Scalars) -> Float[Array, "*d"]:
    """Log-density of the uniform distribution on [low, high], elementwise, in nats.

    Both ends belong to the support; outside -inf with zero gradient. NaN where high <= low or any
    argument is NaN.
    """
    x = jnp.asarray(x)
    low, high = jnp.asarray(low), jnp.asarray(high)
    inside = (x >= low) & (x <= high)
    value = jnp.where(inside, -jnp.log(high - low), -jnp.inf)
    return jnp.where((high > low) & ~jnp.isnan(x), value, jnp.nan)


def sample(key: Key[Array, ""], low: Scalars, high: Scalars) -> Float[Array, "*d"]:
    """One draw per element, in [low, high], reparameterized: differentiable in low and high.

    NaN where high <= low or an argument is NaN.
    """
    low, high = jnp.asarray(low), jnp.asarray(high)
    shape = jnp.broadcast_shapes(low.shape, high.shape)
    unit = jax.random.uniform(key, shape, jnp.result_type(low, high))
    return jnp.where(high > low, low + (high - low) * unit, jnp.nan)


def entropy(low: Scalars, high: Scalars) -> Float[Array, "*d"]:
    """Differential entropy, elementwise, in nats; NaN where high <= low or an argument is NaN."""
    low, high = jnp.asarray(low), jnp.asarray(high)
    return jnp.where(high > low, jnp.log(high - low), jnp.nan)


def kl(low_p: Scalars, high_p: Scalars, low_q: Scalars, high_q: Scalars) -> Float[Array, "*d"]:
    """KL(p || q), elementwise, in nats.

    inf with zero gradient where [low_p, high_p] is not inside [low_q, high_q]; NaN where an
    interval is empty or any argument is NaN.
    """
    low_p, high_p = jnp.asarray(low_p), jnp.asarray(high_p)
    low_q, high_q = jnp.asarray(low_q), jnp.asarray(high_q)
    contained = (low_q <= low_p) & (high_p <= high_q)
    difference = jnp.log(high_q - low_q) - jnp.log(high_p - low_p)
    valid = (high_p > low_p) & (high_q > low_q)
    return jnp.where(valid, jnp.where(contained, difference, jnp.inf), jnp.nan)
