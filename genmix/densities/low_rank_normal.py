"""Normal distribution with covariance diag(scale^2) + factor factor^T; one event."""

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, Float, Key

from genmix.densities import normal
from genmix.densities.multivariate_normal import check_shape

Vector = Float[Array, " _"]
Matrix = Float[Array, "_ _"]


def log_prob(x: Vector, loc: Vector, factor: Matrix, scale: Vector) -> Float[Array, ""]:
    """Log-density at one event x [d] for loc [d], factor [d, r], scale [d], in nats; O(d r^2).

    NaN where a scale <= 0 or any argument is NaN; -inf where the squared Mahalanobis distance
    overflows (the gradient in factor and scale overflows to infinities earlier). NaN, too, where
    I + A^T A with A = factor / scale is not positive definite in floating point: columns of A
    that are collinear (always so if r > d) and longer than 1 / sqrt(eps), 3e3 in float32, or an
    A^T A that overflows.

    Raises:
        ValueError: if the shapes do not fit loc.

    Source: Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, equations A.9
    and A.10 (Woodbury's inverse and determinant).
    """
    check_shape("x", x, loc.shape)
    inverse, ratio, cholesky = _capacitance(loc, factor, scale)
    quadratic = _squared_mahalanobis((x - loc) * inverse, ratio, cholesky)
    log_det = jnp.sum(jnp.log(scale)) + jnp.sum(jnp.log(jnp.diag(cholesky)))
    return -0.5 * (quadratic + loc.size * normal.LOG_TWO_PI) - log_det


def sample(key: Key[Array, ""], loc: Vector, factor: Matrix, scale: Vector) -> Float[Array, " _"]:
    """One draw [d], reparameterized: differentiable in loc, factor and scale.

    The elements with scale <= 0 are NaN.

    Raises:
        ValueError: if the shapes do not fit loc.
    """
    _check_shapes(loc, factor, scale)
    diagonal_key, factor_key = jax.random.split(key)
    dtype = jnp.result_type(loc, factor, scale)
    noise = jax.random.normal(factor_key, factor.shape[1:], dtype)
    return normal.sample(diagonal_key, loc, scale) + _matmul(factor, noise)


def entropy(loc: Vector, factor: Matrix, scale: Vector) -> Float[Array, ""]:
    """Differential entropy of the event, in nats; NaN where `log_prob` is.

    Raises:
        ValueError: if the shapes do not fit loc.
    """
    cholesky = _capacitance(loc, factor, scale)[-1]
    return jnp.sum(normal.entropy(loc, scale)) + jnp.sum(jnp.log(jnp.diag(cholesky)))


def kl(
    loc_p: Vector,
    factor_p: Matrix,
    scale_p: Vector,
    loc_q: Vector,
    factor_q: Matrix,
    scale_q: Vector,
) -> Float[Array, ""]:
    """KL(p || q) of the event, exact, in nats; the ranks may differ; O(d r^2).

    NaN where the log-density of p or q is; inf where a square overflows. The rounding error
    is about eps * sum((scale_p / scale_q)^2), which matters where p is much wider than q's
    diagonal.

    Raises:
        ValueError: if the shapes do not fit loc_p.

    Source: Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, equations A.9,
    A.10 and A.23 (KL of two Gaussians).
    """
    check_shape("loc_q", loc_q, loc_p.shape)
    cholesky_p = _capacitance(loc_p, factor_p, scale_p)[-1]
    inverse_q, ratio_q, cholesky_q = _capacitance(loc_q, factor_q, scale_q)
    # The trace of cov_q^-1 cov_p in three parts: the two diagonals (with their determinants, in
    # normal.kl), what q's factor takes off, and one squared distance per column of p's factor.
    scale_ratio = scale_p * inverse_q
    diagonal = jnp.sum(normal.kl(0.0, scale_ratio, 0.0, 1.0))
    explained = solve_triangular(cholesky_q, (ratio_q * scale_ratio[:, None]).T, lower=True)
    columns = _squared_mahalanobis(factor_p * inverse_q[:, None], ratio_q, cholesky_q)
    shift = _squared_mahalanobis((loc_p - loc_q) * inverse_q, ratio_q, cholesky_q)
    log_det = jnp.sum(jnp.log(jnp.diag(cholesky_q))) - jnp.sum(jnp.log(jnp.diag(cholesky_p)))
    value = diagonal + 0.5 * (columns + shift - jnp.sum(explained**2)) + log_det
    return jnp.where(jnp.all((scale_p > 0) & (scale_q > 0)), value, jnp.nan)


def _check_shapes(loc: Array, factor: Array, scale: Array) -> None:
    check_shape("factor", factor, (*loc.shape, *factor.shape[1:]))
    check_shape("scale", scale, loc.shape)


def _capacitance(loc: Array, factor: Array, scale: Array) -> tuple[Array, Array, Array]:
    """1 / scale, A = factor / scale and the Cholesky factor of I + A^T A."""
    _check_shapes(loc, factor, scale)
    # All that is divided by scale shares this reciprocal: an extreme gradient in scale is summed
    # up before it can overflow, and never becomes inf - inf.
    inverse = 1 / scale
    ratio = factor * inverse[:, None]
    capacitance = jnp.eye(factor.shape[1], dtype=ratio.dtype) + _matmul(ratio.T, ratio)
    return inverse, ratio, jnp.linalg.cholesky(capacitance)


def _squared_mahalanobis(u: Array, ratio: Array, cholesky: Array) -> Array:
    """u^T (I + A A^T)^-1 u, summed over the columns of u if it has any."""
    # Woodbury's u^T u - u^T A C^-1 A^T u loses all digits where the factor explains most of u.
    # The same number is the least value of |u - A w|^2 + |w|^2, at w = C^-1 A^T u: no difference
    # of large numbers, and an error in w enters only squared.
    w = cho_solve((cholesky, True), _matmul(ratio.T, u))
    return jnp.sum((u - _matmul(ratio, w)) ** 2) + jnp.sum(w**2)


def _matmul(a: Array, b: Array) -> Array:
    # Accelerators multiply float32 matrices in fewer bits unless told not to.
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
