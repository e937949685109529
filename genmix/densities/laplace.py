"""Laplace distribution, elementwise."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key

Scalars = Float[ArrayLike, "*#d"]


def log_prob(x: Scalars, loc: Scalars, scale: Scalars) -> Float[Array, "*d"]:
    """Log-density of Laplace(loc, scale) at x, elementwise, in nats.

    At x = loc, the cusp, the gradient in x and loc is 0. NaN where scale <= 0 or any argument is
    NaN.
    Source: Kotz, Kozubowski & Podgorski (2001), The Laplace Distribution and Generalizations, 2.1.
    """
    x, loc, scale = jnp.asarray(x), jnp.asarray(loc), jnp.asarray(scale)
    # No test of scale: the log is NaN below zero, and at zero inf - inf or 0 / 0 is NaN too.
    return -_distance(x, loc) / scale - jnp.log(scale) - math.log(2)


def sample(key: Key[Array, ""], loc: Scalars, scale: Scalars) -> Float[Array, "*d"]:
    """One draw per element, reparameterized: differentiable in loc and scale.

    NaN where scale <= 0 or an argument is NaN.
    """
    loc, scale = jnp.asarray(loc), jnp.asarray(scale)
    shape = jnp.broadcast_shapes(loc.shape, scale.shape)
    noise = jax.random.laplace(key, shape, jnp.result_type(loc, scale))
    return loc + jnp.where(scale > 0, scale, jnp.nan) * noise


def entropy(loc: Scalars, scale: Scalars) -> Float[Array, "*d"]:
    """Differential entropy, elementwise, in nats; NaN where scale <= 0 or an argument is NaN."""
    loc, scale = jnp.asarray(loc), jnp.asarray(scale)
    valid = (scale > 0) & ~jnp.isnan(loc)
    return jnp.where(valid, jnp.log(scale) + 1 + math.log(2), jnp.nan)


def kl(loc_p: Scalars, scale_p: Scalars, loc_q: Scalars, scale_q: Scalars) -> Float[Array, "*d"]:
    """KL(p || q), elementwise, in nats; NaN where a scale <= 0 or any argument is NaN.

    With d = |loc_p - loc_q| and p, q for the scales: (p exp(-d / p) + d) / q - 1 - log(p / q).
    """
    loc_p, scale_p = jnp.asarray(loc_p), jnp.asarray(scale_p)
    loc_q, scale_q = jnp.asarray(loc_q), jnp.asarray(scale_q)
    distance = _distance(loc_p, loc_q)
    # The formula above, with its 1 given to either expm1: each part is small where p is near q.
    log_ratio = jnp.log(scale_p / scale_q)
    spread = jnp.expm1(log_ratio) - log_ratio
    shift = (distance + scale_p * jnp.expm1(-distance / scale_p)) / scale_q
    return jnp.where((scale_p > 0) & (scale_q > 0), spread + shift, jnp.nan)


def _distance(a: Array, b: Array) -> Array:
    # Not the abs of a - b, whose gradient at the cusp is that of one side; here it is 0.
    return jnp.maximum(a - b, b - a)
