"""Maximum likelihood of gamma and Dirichlet distributions: equations in the digamma function.

Both solvers end in one Newton step that autodiff sees, from a solution that it does not see: so the
derivative of the result is that of the implicit function.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import digamma, polygamma
from jaxtyping import Array, Bool, Float

from genmix.densities.multivariate_normal import Vector

_GAMMA_STEPS = 8  # of Newton's method; the fourth is at rounding error from any start
_MAX_STEPS = 100


def solve_gamma(gap: Float[Array, "*d"]) -> Float[Array, "*d"]:
    """The concentration a with log(a) - digamma(a) = gap, elementwise; NaN where gap <= 0.

    With gap = log(mean of x) - mean of log x it is the maximum-likelihood estimate. Of a large
    concentration, 1 / (2 gap), few digits are left.

    Source: Minka (2002), Estimating a Gamma distribution.
    """
    gap = jnp.where((gap > 0) & (gap < jnp.inf), gap, jnp.nan)
    known = lax.stop_gradient(gap)

    def newton(_, a):  # in 1 / a, where the equation is nearly linear
        slope = a * (1 - a * trigamma(a))
        return 1 / (1 / a + (jnp.log(a) - digamma(a) - known) / slope)

    start = (3 - known + jnp.sqrt((known - 3) ** 2 + 24 * known)) / (12 * known)
    a = lax.stop_gradient(lax.fori_loop(0, _GAMMA_STEPS, newton, start))
    return a + (gap - jnp.log(a) + digamma(a)) / (1 / a - trigamma(a))


def solve_dirichlet(mean_log: Vector) -> Float[Array, " _"]:
    """Concentrations a [d] with digamma(a_i) - digamma(sum a) = mean_log_i.

    NaN where there are none: the entries must be below 0, and their exponentials sum to less
    than 1. With the averages of log x it is the maximum-likelihood estimate. Newton steps; where
    one would leave the domain or lower the likelihood, Minka's fixed-point step, which never does.

    Source: Minka (2000), Estimating a Dirichlet distribution, sections 1 and 2 and appendix C.
    """
    slack = -jax.nn.logsumexp(mean_log)
    valid = (slack > 0) & jnp.all(jnp.isfinite(mean_log))
    mean_log = jnp.where(valid, mean_log, jnp.nan)
    known = lax.stop_gradient(jnp.where(valid, mean_log, -jnp.log(float(mean_log.size)) - 1.0))
    precision = (mean_log.size - 1) / (2 * -jax.nn.logsumexp(known))
    start = _fixed_point(known, precision)
    tolerance = 8 * jnp.finfo(mean_log.dtype).eps

    def unfinished(loop: tuple[Array, Array, Array]) -> Bool[Array, ""]:
        _, change, count = loop
        return (change > tolerance) & (count < _MAX_STEPS)

    def improve(loop: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        a, _, count = loop
        newton = _newton(known, a)
        inside = jnp.where(newton > 0, newton, a)
        rises = _log_likelihood(known, inside) >= _log_likelihood(known, a)
        accept = jnp.all(newton > 0) & rises
        new = jnp.where(accept, newton, _fixed_point(known, jnp.sum(a)))
        return new, jnp.max(jnp.abs(new - a) / a), count + 1

    loop = start, jnp.full((), jnp.inf, start.dtype), jnp.zeros((), int)
    a = lax.stop_gradient(lax.while_loop(unfinished, improve, loop)[0])
    return _newton(mean_log, a)


def trigamma(x: Float[Array, "*d"]) -> Float[Array, "*d"]:
    """Derivative of the digamma function, elementwise."""
    return polygamma(1, x)


def _log_likelihood(mean_log: Array, a: Array) -> Array:
    gammaln = jax.scipy.special.gammaln
    return gammaln(jnp.sum(a)) - jnp.sum(gammaln(a)) + jnp.sum((a - 1) * mean_log)


def _newton(mean_log: Array, a: Array) -> Array:
    """The Hessian is diagonal plus a constant, so that its inverse is at hand."""
    total = jnp.sum(a)
    gradient = mean_log - digamma(a) + digamma(total)
    curvature, common = trigamma(a), trigamma(total)
    shift = jnp.sum(gradient / curvature) / (1 / common - jnp.sum(1 / curvature))
    return a + (gradient + shift) / curvature


def _fixed_point(mean_log: Array, total: Array) -> Array:
    return _inverse_digamma(mean_log + digamma(total))


def _inverse_digamma(y: Array) -> Array:
    euler = -digamma(jnp.ones((), y.dtype))
    x = jnp.where(y >= -2.22, jnp.exp(y) + 0.5, -1 / (y + euler))
    newton = lambda _, x: x - (digamma(x) - y) / trigamma(x)
    return lax.fori_loop(0, 5, newton, x)
