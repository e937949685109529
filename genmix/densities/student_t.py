"""Student's t distribution with location and scale, elementwise."""

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, ArrayLike, Float, Key

from genmix.densities.normal import LOG_TWO_PI

Scalars = Float[ArrayLike, "*#d"]


def log_prob(x: Scalars, df: Scalars, loc: Scalars, scale: Scalars) -> Float[Array, "*d"]:
    """Log-density of loc + scale * t, t with df degrees of freedom, at x, elementwise, in nats.

    Full accuracy for large df and in the tails: ((x - loc) / scale)^2 may overflow. NaN where df or
    scale <= 0, df is inf (use `normal`) or any argument is NaN.
    Source: Bishop (2006), Pattern Recognition and Machine Learning, equation 2.159.
    """
    x, df = jnp.asarray(x), jnp.asarray(df)
    loc, scale = jnp.asarray(loc), jnp.asarray(scale)
    half_df = 0.5 * df
    t = (x - loc) / (scale * jnp.sqrt(df))
    # log(1 + t^2) in two pieces, so that no square overflows; either has a finite gradient always
    far = jnp.abs(t) > 1
    far_t = jnp.where(far, jnp.abs(t), 1.0)
    log_tail = 2 * jnp.log(far_t) + jnp.log1p(jnp.where(far, 1 / far_t, t) ** 2)
    value = _log_gamma_ratio(half_df) - (half_df + 0.5) * log_tail - jnp.log(scale)
    return jnp.where((df > 0) & (scale > 0), value - 0.5 * LOG_TWO_PI, jnp.nan)


def sample(key: Key[Array, ""], df: Scalars, loc: Scalars, scale: Scalars) -> Float[Array, "*d"]:
    """One draw per element, reparameterized: differentiable in loc, scale and df.

    The gradient in df is the implicit one of `jax.random.loggamma` (Figurnov et al., 2018,
    arXiv:1805.08498). With few degrees of freedom (in float32 below 0.1) some draws are beyond the
    largest float: they are infinite, and their gradient in df is NaN. NaN where df or scale <= 0
    or any argument is NaN.
    """
    df, loc, scale = jnp.asarray(df), jnp.asarray(loc), jnp.asarray(scale)
    shape = jnp.broadcast_shapes(df.shape, loc.shape, scale.shape)
    dtype = jnp.result_type(df, loc, scale)
    valid = (df > 0) & (scale > 0)
    half_df = jnp.where(valid, 0.5 * df, 1.0)  # the rejection loop wants a positive number
    normal_key, gamma_key = jax.random.split(key)
    log_gamma = jax.random.loggamma(gamma_key, half_df.astype(dtype), shape, dtype)
    # The logarithm, because a gamma variable with little df underflows.
    noise = jax.random.normal(normal_key, shape, dtype)
    noise = noise * jnp.exp(0.5 * (jnp.log(half_df) - log_gamma))
    return jnp.where(valid, loc + scale * noise, jnp.nan)


def entropy(df: Scalars, loc: Scalars, scale: Scalars) -> Float[Array, "*d"]:
    """Differential entropy, elementwise, in nats; NaN where `log_prob` is.

    Source: Cover & Thomas (2006), Elements of Information Theory, table 17.1.
    """
    df, loc, scale = jnp.asarray(df), jnp.asarray(loc), jnp.asarray(scale)
    half_df = 0.5 * df
    log_ratio, slope = jax.jvp(_log_gamma_ratio, (half_df,), (jnp.ones_like(half_df),))
    # E log(1 + t^2) is the difference of two digammas, 1 / (2 half_df) + slope.
    value = (half_df + 0.5) * (0.5 / half_df + slope) - log_ratio + jnp.log(scale)
    valid = (df > 0) & (scale > 0) & ~jnp.isnan(loc)
    return jnp.where(valid, value + 0.5 * LOG_TWO_PI, jnp.nan)


def _log_gamma_ratio(a: Array) -> Array:
    """log(Gamma(a + 1/2) / (Gamma(a) sqrt(a))), which tends to 0 for large a."""
    # The difference of two gammaln loses all digits as a grows; from 10 on, six terms of its
    # asymptotic series are exact in float64 (the coefficients follow from Stirling's series).
    large = a > 10
    r = 1 / jnp.where(large, a, 10.0)
    s = r * r
    tail = -1 / 640 + s * (17 / 14336 + s * (-31 / 18432 + s * 691 / 180224))
    series = r * (-1 / 8 + s * (1 / 192 + s * tail))
    small = jnp.where(large, 1.0, a)
    direct = gammaln(small + 0.5) - gammaln(small) - 0.5 * jnp.log(small)
    return jnp.where(large, series, direct)
