"""The standard exponential families: `exponential_families.gamma.log_prob(x, natural)`.

`of(record)` is the family of which a record, such as `normal.Normal()`, names the members.

Families of scalars take an event of any shape, of independent entries: with vectors, `normal` is a
diagonal Gaussian and `bernoulli` a black-and-white image. Their constants stand in A, so that h = 1
on the support, unless said otherwise.

Source: Wainwright & Jordan (2008), Graphical Models, Exponential Families, and Variational
Inference, table 3.1.
"""

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import gammaln, logit
from jaxtyping import Array, ArrayLike, Bool, Float

from genmix.densities import bernoulli as bernoulli_density
from genmix.densities import beta as beta_density
from genmix.densities import categorical as categorical_density
from genmix.densities import dirichlet as dirichlet_density
from genmix.densities import gamma as gamma_density
from genmix.densities import multivariate_normal as multivariate_normal_density
from genmix.densities import normal as normal_density
from genmix.densities import poisson as poisson_density
from genmix.densities.digamma_equations import solve_dirichlet, solve_gamma
from genmix.densities.distribution import Distribution
from genmix.densities.exponential_family import ExponentialFamily
from genmix.densities.logistic import softplus
from genmix.densities.normal import LOG_TWO_PI


def _zero_inside(outside: Bool[Array, "..."]) -> Float[Array, ""]:
    return jnp.where(jnp.any(outside), -jnp.inf, 0.0)


def _where_all(valid: Bool[Array, "..."], value: Array) -> Array:
    return jnp.where(jnp.all(valid), value, jnp.nan)


def _x_log_x(x: Array) -> Array:
    """x log x with 0 log 0 = 0, whose gradient is set to 0 there; NaN below 0."""
    return jnp.where(x == 0, 0.0, x * jnp.log(jnp.where(x == 0, 1.0, x)))


def _bernoulli_outside(x: Array) -> Array:
    return (x != 0) & (x != 1) & (x == x)


bernoulli = ExponentialFamily(
    statistics=lambda x: jnp.where(_bernoulli_outside(x), 0, x) + 0.0,
    log_base=lambda x: _zero_inside(_bernoulli_outside(x)),
    log_partition=lambda natural: jnp.sum(softplus(natural)),
    natural_from_mean=lambda mean: logit(mean),
    natural_from_parameters=lambda logits: jnp.asarray(logits),
    parameters_from_natural=lambda natural: (natural,),
    sample=bernoulli_density.sample,
    dual_fn=lambda mean: jnp.sum(_x_log_x(mean) + _x_log_x(1 - mean)),
)
"""x in {0, 1}: theta the logit, T(x) = x. Parameters: logits."""


def categorical(num_classes: int) -> ExponentialFamily:
    """x in 0..n-1: theta the logits [n], T(x) one-hot. Parameters: logits.

    Overcomplete: theta + c is the same distribution; the means' theta has A(theta) = 0.

    Raises:
        ValueError: if num_classes < 1.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}.")
    return ExponentialFamily(
        statistics=lambda x: jax.nn.one_hot(x, num_classes),
        log_base=lambda x: _zero_inside((x < 0) | (x >= num_classes)),
        log_partition=jax.nn.logsumexp,
        natural_from_mean=jnp.log,
        natural_from_parameters=lambda logits: jnp.asarray(logits),
        parameters_from_natural=lambda natural: (natural,),
        sample=categorical_density.sample,
        dual_fn=lambda mean: jnp.sum(_x_log_x(mean)),
    )


_no_count = poisson_density.is_outside


def _counts(x: Array) -> Array:
    return jnp.where(_no_count(x), 0, x) + 0.0


poisson = ExponentialFamily(
    statistics=_counts,
    log_base=lambda x: _zero_inside(_no_count(x)) - jnp.sum(gammaln(_counts(x) + 1)),
    log_partition=lambda natural: jnp.sum(jnp.exp(natural)),
    natural_from_mean=jnp.log,
    natural_from_parameters=lambda rate: jnp.log(rate),
    parameters_from_natural=lambda natural: (jnp.exp(natural),),
    sample=lambda key, natural: poisson_density.sample(key, jnp.exp(natural)),
    dual_fn=lambda mean: jnp.sum(_x_log_x(mean) - mean),
)
"""x in 0, 1, 2, ...: theta the log of the rate, T(x) = x, h(x) = 1 / x!. Parameters: rate."""


def _negative_or_infinite(x: Array) -> Array:
    return (x < 0) | (x == jnp.inf)


exponential = ExponentialFamily(
    statistics=lambda x: jnp.where(_negative_or_infinite(x), 1.0, x),
    log_base=lambda x: _zero_inside(_negative_or_infinite(x)),
    log_partition=lambda natural: -jnp.sum(jnp.log(-natural)),
    natural_from_mean=lambda mean: jnp.where(mean > 0, -1 / mean, jnp.nan),
    natural_from_parameters=lambda rate: -jnp.asarray(rate),
    parameters_from_natural=lambda natural: (-natural,),
    sample=lambda key, natural: gamma_density.sample(key, jnp.ones_like(natural), -natural),
)
"""x >= 0: theta = -rate, T(x) = x. Parameters: rate."""


def _finite(x: Array) -> Array:
    return jnp.where(jnp.isinf(x), 0.0, x)


def normal_of_scale(scale: Float[ArrayLike, "..."]) -> ExponentialFamily:
    """Normal of a known scale: theta = loc / scale^2, T(x) = x, h(x) = N(x; 0, scale^2).

    Parameters: loc.
    """
    scale = jnp.asarray(scale)
    variance = scale**2
    return ExponentialFamily(
        statistics=_finite,
        log_base=lambda x: (
            _zero_inside(jnp.isinf(x)) + jnp.sum(normal_density.log_prob(_finite(x), 0.0, scale))
        ),
        log_partition=lambda natural: 0.5 * jnp.sum(variance * natural**2),
        natural_from_mean=lambda mean: mean / variance,
        natural_from_parameters=lambda loc: loc / variance,
        parameters_from_natural=lambda natural: (natural * variance,),
        sample=lambda key, natural: normal_density.sample(key, natural * variance, scale),
    )


def _normal_parameters(natural: tuple[Array, Array]) -> tuple[Array, Array]:
    variance = -0.5 / natural[1]
    return natural[0] * variance, jnp.sqrt(variance)


def _normal_natural(loc: ArrayLike, scale: ArrayLike) -> tuple[Array, Array]:
    loc, scale = jnp.asarray(loc), jnp.asarray(scale)
    variance = jnp.where(scale > 0, scale**2, jnp.nan)
    return loc / variance, -0.5 / variance


def _normal_log_partition(natural: tuple[Array, Array]) -> Array:
    first, second = natural
    terms = -0.25 * first**2 / second - 0.5 * jnp.log(-2 * second) + 0.5 * LOG_TWO_PI
    return jnp.sum(terms)


normal = ExponentialFamily(
    statistics=lambda x: (_finite(x), _finite(x) ** 2),
    log_base=lambda x: _zero_inside(jnp.isinf(x)),
    log_partition=_normal_log_partition,
    natural_from_mean=lambda mean: _normal_natural(mean[0], jnp.sqrt(mean[1] - mean[0] ** 2)),
    natural_from_parameters=_normal_natural,
    parameters_from_natural=_normal_parameters,
    sample=lambda key, natural: normal_density.sample(key, *_normal_parameters(natural)),
)
"""theta = (loc / scale^2, -1 / (2 scale^2)), T(x) = (x, x^2). Parameters: loc, scale."""


def _multivariate_normal_log_partition(natural: tuple[Array, Array]) -> Array:
    first, second = natural
    tril = jnp.linalg.cholesky(-2 * second)
    whitened = solve_triangular(tril, first, lower=True)
    log_det = jnp.sum(jnp.log(jnp.diag(tril)))
    return 0.5 * jnp.sum(whitened**2) - log_det + 0.5 * first.size * LOG_TWO_PI


def _inverse(positive: Array) -> Array:
    """Inverse of a positive definite matrix, symmetric to the last bit; NaN of any other."""
    tril = jnp.linalg.cholesky(positive)
    factor = solve_triangular(tril, jnp.eye(len(tril), dtype=tril.dtype), lower=True)
    return jnp.matmul(factor.T, factor, precision=jax.lax.Precision.HIGHEST)


def _from_covariance(loc: Array, covariance: Array) -> tuple[Array, Array]:
    precision = _inverse(covariance)
    return jnp.matmul(precision, loc, precision=jax.lax.Precision.HIGHEST), -0.5 * precision


def _from_tril(loc: Array, scale_tril: Array) -> tuple[Array, Array]:
    multivariate_normal_density.check_shape("scale_tril", scale_tril, loc.shape * 2)
    tril = jnp.tril(scale_tril)
    covariance = jnp.matmul(tril, tril.T, precision=jax.lax.Precision.HIGHEST)
    return _from_covariance(loc, _where_all(jnp.diag(tril) > 0, covariance))


def _to_tril(natural: tuple[Array, Array]) -> tuple[Array, Array]:
    covariance = _inverse(-2 * natural[1])
    loc = jnp.matmul(covariance, natural[0], precision=jax.lax.Precision.HIGHEST)
    return loc, jnp.linalg.cholesky(covariance)


multivariate_normal = ExponentialFamily(
    statistics=lambda x: (_finite(x), jnp.outer(_finite(x), _finite(x))),
    log_base=lambda x: _zero_inside(jnp.isinf(x)),
    log_partition=_multivariate_normal_log_partition,
    natural_from_mean=lambda mean: _from_covariance(mean[0], mean[1] - jnp.outer(mean[0], mean[0])),
    natural_from_parameters=_from_tril,
    parameters_from_natural=_to_tril,
    sample=lambda key, natural: multivariate_normal_density.sample(key, *_to_tril(natural)),
)
"""x [d]: theta = (P loc, -P / 2) with the precision P, T(x) = (x, x x^T).

Parameters: loc, scale_tril.

Source: Wainwright & Jordan (2008), example 3.2.
"""


def _gamma_statistics(x: Array) -> tuple[Array, Array]:
    x = jnp.where(_negative_or_infinite(x), 1.0, x)
    return jnp.where(x == 0, -jnp.inf, jnp.log(jnp.where(x == 0, 1.0, x))), x


def _gamma_log_partition(natural: tuple[Array, Array]) -> Array:
    a, b = natural[0] + 1, -natural[1]
    return _where_all((a > 0) & (b > 0), jnp.sum(gammaln(a) - a * jnp.log(b)))


gamma = ExponentialFamily(
    statistics=_gamma_statistics,
    log_base=lambda x: _zero_inside(_negative_or_infinite(x)),
    log_partition=_gamma_log_partition,
    natural_from_mean=lambda mean: (lambda a: (a - 1, -a / mean[1]))(
        solve_gamma(jnp.log(mean[1]) - mean[0])
    ),
    natural_from_parameters=lambda concentration, rate: (
        jnp.asarray(concentration) - 1,
        -jnp.asarray(rate),
    ),
    parameters_from_natural=lambda natural: (natural[0] + 1, -natural[1]),
    sample=lambda key, natural: gamma_density.sample(key, natural[0] + 1, -natural[1]),
)
"""x >= 0: theta = (a - 1, -b), T(x) = (log x, x). Parameters: concentration a, rate b."""


def _beta_statistics(x: Array) -> tuple[Array, Array]:
    log = lambda y: jnp.where(y == 0, -jnp.inf, jnp.log(jnp.where(y == 0, 1.0, y)))
    inner_x = jnp.where((x < 0) | (x > 1), 0.5, x)
    at_one = inner_x == 1
    log_1mx = jnp.where(at_one, -jnp.inf, jnp.log1p(-jnp.where(at_one, 0.5, inner_x)))
    return log(inner_x), log_1mx


def _beta_log_partition(natural: tuple[Array, Array]) -> Array:
    a, b = natural[0] + 1, natural[1] + 1
    return _where_all((a > 0) & (b > 0), jnp.sum(beta_density.log_beta(a, b)))


def _beta_natural(mean: tuple[Array, Array]) -> tuple[Array, Array]:
    solve = jnp.vectorize(solve_dirichlet, signature="(d)->(d)")
    concentration = solve(jnp.stack(mean, axis=-1))
    return concentration[..., 0] - 1, concentration[..., 1] - 1


beta = ExponentialFamily(
    statistics=_beta_statistics,
    log_base=lambda x: _zero_inside((x < 0) | (x > 1)),
    log_partition=_beta_log_partition,
    natural_from_mean=_beta_natural,
    natural_from_parameters=lambda a, b: (jnp.asarray(a) - 1, jnp.asarray(b) - 1),
    parameters_from_natural=lambda natural: (natural[0] + 1, natural[1] + 1),
    sample=lambda key, natural: beta_density.sample(key, natural[0] + 1, natural[1] + 1),
)
"""x in [0, 1]: theta = (a - 1, b - 1), T(x) = (log x, log(1 - x)). Parameters: a, b."""


def _dirichlet_statistics(x: Array) -> Array:
    outside = dirichlet_density.off_simplex(x)
    inner_x = jnp.where(outside | (x == 0), 1.0, x)
    return jnp.where((x == 0) & ~outside, -jnp.inf, jnp.log(inner_x))


def _dirichlet_log_partition(natural: Array) -> Array:
    concentration = natural + 1
    value = jnp.sum(gammaln(concentration)) - gammaln(jnp.sum(concentration))
    return _where_all(concentration > 0, value)


dirichlet = ExponentialFamily(
    statistics=_dirichlet_statistics,
    log_base=lambda x: _zero_inside(dirichlet_density.off_simplex(x)),
    log_partition=_dirichlet_log_partition,
    natural_from_mean=lambda mean: solve_dirichlet(mean) - 1,
    natural_from_parameters=lambda concentration: jnp.asarray(concentration) - 1,
    parameters_from_natural=lambda natural: (natural + 1,),
    sample=lambda key, natural: dirichlet_density.sample(key, natural + 1),
)
"""x [d] on the simplex: theta = concentration - 1, T(x) = log x. Parameters: concentration."""


def of(record: Distribution) -> ExponentialFamily:
    """The family of a record, of which its numbers are one of many parametrizations.

    Raises:
        TypeError: if it is of no family here, or of one with a parameter that is held fixed.
    """
    match record:
        case bernoulli_density.Bernoulli():
            return bernoulli
        case categorical_density.Categorical(num_levels=n):
            return categorical(n)
        case poisson_density.Poisson():
            return poisson
        case normal_density.Normal(scale=None):
            return normal
        case normal_density.Normal(scale=float(scale) | int(scale)):
            return normal_of_scale(scale)
        case multivariate_normal_density.FullNormal():
            return multivariate_normal
        case gamma_density.Gamma(concentration=None, rate=None):
            return gamma
        case beta_density.Beta(a=None, b=None):
            return beta
        case dirichlet_density.Dirichlet(concentration=None):
            return dirichlet
    raise TypeError(
        f"{record} is of no exponential family of exponential_families: make an ExponentialFamily."
    )
