"""Mixture of discretized logistics: the likelihood of one pixel channel in PixelCNN++."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key, Shaped

from genmix.densities import categorical, discretized_logistic
from genmix.densities.multivariate_normal import check_shape

Vector = Float[Array, " _"]


def log_prob(
    x: Shaped[ArrayLike, ""], logits: Vector, loc: Vector, scale: Vector, *, num_levels: int = 256
) -> Float[Array, ""]:
    """Log-probability of one level x, of any dtype, under k components [k], in nats.

    Component i has weight softmax(logits)_i, where logits of -inf are allowed, and is
    `discretized_logistic` with loc_i, scale_i on [-1, 1]. -inf with zero gradient where x is not
    in 0..num_levels-1; NaN where a scale <= 0, any argument is NaN or all logits are -inf.

    Raises:
        ValueError: if num_levels < 2, or loc or scale does not fit logits.

    Source: Salimans, Karpathy, Chen & Kingma (2017), arXiv:1701.05517, section 2.1.
    """
    check_shape("loc", loc, logits.shape)
    check_shape("scale", scale, logits.shape)
    level = jnp.asarray(x).astype(jnp.result_type(logits, loc, scale))
    outside = discretized_logistic.is_outside(level, num_levels)
    # Outside, every component is -inf and the gradient of logsumexp would be NaN.
    safe_level = jnp.where(outside, 0.0, level)
    components = discretized_logistic.log_prob(safe_level, loc, scale, num_levels=num_levels)
    value = jax.nn.logsumexp(jax.nn.log_softmax(logits) + components)
    return jnp.where(outside & ~jnp.isnan(value), -jnp.inf, value)


def sample(
    key: Key[Array, ""], logits: Vector, loc: Vector, scale: Vector, *, num_levels: int = 256
) -> Float[Array, ""]:
    """One level, 0..num_levels-1 in the dtype of loc and scale; no gradient.

    NaN where the component drawn has scale <= 0 or a NaN.

    Raises:
        ValueError: if loc or scale does not fit logits.
    """
    check_shape("loc", loc, logits.shape)
    check_shape("scale", scale, logits.shape)
    component_key, level_key = jax.random.split(key)
    i = categorical.sample(component_key, logits)
    return discretized_logistic.sample(level_key, loc[i], scale[i], num_levels=num_levels)
