"""Every density at extreme arguments: NaN only where its docstring says so, -inf off the support.

Each function is called at random arguments, drawn from a fixed seed, in one jitted call a dtype.
What must hold:

- the value is NaN exactly where an argument is NaN or a parameter is not valid;
- elsewhere no gradient is NaN, and the value is infinite exactly where the case says so;
- off the support the value is -inf and every gradient is 0.
"""

import inspect
import math
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genmix import densities
from genmix.densities import (
    bernoulli,
    bessel,
    beta,
    categorical,
    dirichlet,
    discretized_logistic,
    discretized_logistic_mixture,
    gamma,
    gumbel_softmax,
    laplace,
    logistic,
    low_rank_normal,
    mixture,
    multivariate_normal,
    negative_binomial,
    normal,
    poisson,
    relaxed_bernoulli,
    student_t,
    uniform,
    von_mises_fisher,
)

DIM = 3
ANYTHING = np.nan  # where a case does not say which values are infinite


class Argument(NamedTuple):
    """How to draw one argument of a function in float64: (generator, number of calls) -> values."""

    draw: Callable[[np.random.Generator, int], np.ndarray]
    is_valid: Callable[[np.ndarray], np.ndarray] = lambda value: np.full(value.shape, True)
    has_gradient: bool = True
    is_integer: bool = False


def replace(rng, value: np.ndarray, shares: dict[float, float]) -> np.ndarray:
    """Some entries replaced by other numbers, each by its share of the entries."""
    values, chances = np.array([0.0, *shares]), [1 - sum(shares.values()), *shares.values()]
    chosen = rng.choice(len(values), value.shape, p=chances)
    return np.where(chosen == 0, value, values[chosen])


def real(most: float, *shape: int) -> Argument:
    def draw(rng, n):
        value = rng.choice([-1, 1], (n, *shape)) * log_uniform(rng, 1e-12, most, (n, *shape))
        return replace(rng, value, {0.0: 0.03, most: 0.01, -most: 0.01, np.nan: 0.01})

    return Argument(draw)


def positive(least: float, most: float, *shape: int, zero_is_valid: bool = False) -> Argument:
    """A parameter of which 0 (unless said otherwise) and negative numbers are not valid."""

    def draw(rng, n):
        value = log_uniform(rng, least, most, (n, *shape))
        bad = {-1.0: 0.005, -most: 0.005, 0.0: 0.01, np.nan: 0.01}
        return replace(rng, value, dict.fromkeys([least, 0.5, 1.0, 2.0, 10.0, most], 0.02) | bad)

    return Argument(draw, lambda value: (value >= 0) if zero_is_valid else (value > 0))


def log_uniform(rng, least: float, most: float, size: tuple[int, ...]) -> np.ndarray:
    return 10 ** rng.uniform(math.log10(least), math.log10(most), size)


def one_of(*values: float, shape: tuple[int, ...] = (), is_integer: bool = False) -> Argument:
    draw = lambda rng, n: rng.choice(values, (n, *shape))
    return Argument(draw, has_gradient=False, is_integer=is_integer)


def _draw_logits(rng, n):
    value = FINITE_LOGITS.draw(rng, n)
    off = rng.random((n, DIM)) < 0.1
    off[np.arange(n), rng.integers(0, DIM, n)] = False
    return np.where(off, -np.inf, value)


def _draw_log_probs(rng, n):
    value = real(1e30, DIM).draw(rng, n)
    value[rng.random(n) < 0.05] = -np.inf
    return replace(rng, value, {-np.inf: 0.1})


def _draw_interval(rng, n):
    value = log_uniform(rng, 1e-30, 1.0, (n,))
    value = np.where(rng.random(n) < 0.3, 1 - log_uniform(rng, 1e-7, 1.0, (n,)), value)
    edges = {0.0: 0.05, 1.0: 0.05, 1e-37: 0.02, 0.5: 0.02, 1 - 2**-24: 0.02}
    off = {-1e-30: 0.02, -1e6: 0.02, 1 + 1e-6: 0.02, 1e6: 0.02, np.nan: 0.02}
    return replace(rng, value, edges | off)


def _draw_simplex(most: float) -> Callable[[np.random.Generator, int], np.ndarray]:
    """Logarithms of probability vectors, down to -most, with some that are none."""

    def draw(rng, n):
        y = -log_uniform(rng, 1e-3, most, (n, DIM))
        y = np.where(np.eye(DIM)[rng.integers(0, DIM, n)] == 1, 0.0, y)
        y = np.where(rng.random((n, 1)) < 0.1, [0.0, -np.inf, 0.0], y)
        y = np.where(rng.random((n, 1)) < 0.05, [-np.inf, 0.0, -np.inf], y)
        y -= np.logaddexp.reduce(y, axis=1, keepdims=True)
        y += rng.choice([0.0, 0.01, -0.01], (n, 1), p=[0.96, 0.02, 0.02])
        y[rng.random(n) < 0.02, 1] = np.nan
        return y

    return draw


def _draw_direction(dim: int) -> Callable[[np.random.Generator, int], np.ndarray]:
    def draw(rng, n):
        x = rng.choice([-1, 1], (n, dim)) * log_uniform(rng, 1e-8, 1.0, (n, dim))
        x = np.where(rng.random((n, 1)) < 0.1, np.eye(dim)[rng.integers(0, dim, n)], x)
        x *= rng.choice([-1, 1], (n, 1)) / np.linalg.norm(x, axis=1, keepdims=True)
        x *= rng.choice([1, 0, 0.9, 1.01, np.nan], (n, 1), p=[0.92, 0.02, 0.02, 0.02, 0.02])
        return x

    return draw


def is_unit(x: np.ndarray) -> np.ndarray:
    return np.abs(np.sum(x**2, axis=-1) - 1) < 1e-4


def triangle(least: float, most: float) -> Argument:
    """A factor of a covariance, of extreme scales and moderate correlations."""

    def draw(rng, n):
        scale = positive(least, most, DIM).draw(rng, n)
        shape = np.where(np.eye(DIM) == 1, 1.0, rng.uniform(-2, 2, (n, DIM, DIM)))
        return scale[:, :, None] * shape

    return Argument(draw, _has_positive_diagonal)


def _has_positive_diagonal(value):
    return np.diagonal(value, axis1=-2, axis2=-1) > 0


LARGE, MODERATE, LOGIT = real(1e30), real(1e6), real(1e4)
LOCATIONS, MODERATE_VECTOR, FINITE_LOGITS = real(1e30, DIM), real(1e6, DIM), real(1e4, DIM)
SCALE, SCALES = positive(1e-12, 1e6), positive(1e-12, 1e6, DIM)
CONCENTRATION, CONCENTRATIONS = positive(1e-6, 1e6), positive(1e-6, 1e6, DIM)
TEMPERATURE = positive(1e-6, 1e6)
LOGITS, LOG_PROBS = Argument(_draw_logits), Argument(_draw_log_probs)
INTERVAL = Argument(_draw_interval)
LOG_SIMPLEX = Argument(_draw_simplex(1e4))
SIMPLEX = Argument(lambda rng, n: np.exp(_draw_simplex(60)(rng, n)))
TRIANGLE, NARROW_TRIANGLE = triangle(1e-12, 1e6), triangle(1e-6, 1e6)
WIDE_SCALES, FACTOR = positive(1e-2, 1e6, DIM), real(10.0, DIM, 2)
NOT_NEGATIVE = positive(1e-30, 1e30, zero_is_valid=True)
DIRECTION = Argument(_draw_direction(DIM), is_unit)
CIRCLE = Argument(_draw_direction(2), is_unit)
POINT, POINT_OF_CIRCLE = Argument(_draw_direction(DIM)), Argument(_draw_direction(2))
KAPPA = positive(1e-6, 1e6, zero_is_valid=True)
BIT = one_of(0, 1, 0, 1, 0.5, 2, -1, 1e30, np.nan)
BITS = one_of(0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0.5, 2, np.nan, shape=(DIM,))
INDEX = one_of(-(2**31), -1, *range(DIM), *range(DIM), DIM, 2**31 - 1, is_integer=True)
LEVEL = one_of(*[0, 1, 100, 254, 255] * 5, -1, 256, 0.5, 1e30, -1e30, np.nan)


COUNT = one_of(*[0, 1, 2, 7, 1000, 1e6] * 3, 1e30, -1, 0.5, np.nan)
RATE = positive(1e-12, 1e6, zero_is_valid=True)


class Case(NamedTuple):
    """A function, its arguments, and where its value must be infinite.

    `infinite(info, *arguments)` gives inf or -inf where the value must be that, 0 where it must be
    finite; `outside(*arguments)` is where the value is -inf and all gradients are zero.
    """

    function: Callable
    arguments: list[Argument]
    infinite: Callable[..., np.ndarray | float] = lambda info, *arguments: 0.0
    outside: Callable[..., np.ndarray | bool] = lambda *arguments: False
    is_invalid: Callable[..., np.ndarray | bool] = lambda *arguments: False
    is_sampler: bool = False
    says_nan: bool = True  # where an argument is not valid
    has_nan_gradient_if_infinite: bool = False


def overflow(info: np.finfo, size: np.ndarray, sign: float) -> np.ndarray:
    """Infinite where a number of this size overflows, which rounding blurs a little."""
    most = float(info.max)
    return np.where(size < most / 16, 0.0, np.where(size > 16.0 * most, sign * np.inf, ANYTHING))


def anything(info, *arguments) -> float:
    return ANYTHING


def at_zero(x, exponent) -> np.ndarray:
    return np.where(x == 0, np.where(exponent < 0, np.inf, np.where(exponent > 0, -np.inf, 0)), 0)


def beta_ends(info, x, a, b):
    return at_zero(x, a - 1) + at_zero(1 - x, b - 1)


def dirichlet_ends(info, x, concentration):
    ends = at_zero(x, concentration - 1)
    lowest, highest = ends.min(axis=1), ends.max(axis=1)
    return np.where(lowest == -np.inf, lowest, highest)


def off_simplex(x, *_):
    return (x < 0).any(axis=1) | (np.abs(x.sum(axis=1) - 1) > 5e-3)


def all_off(log_probs, logits):
    return np.max(np.where(logits == -np.inf, -np.inf, log_probs), axis=1) == -np.inf


def categorical_off(info, x, logits):
    picked = np.take_along_axis(logits, np.clip(x, 0, DIM - 1)[:, None].astype(int), axis=1)[:, 0]
    return np.where(picked == -np.inf, -np.inf, 0)


def categorical_kl_off(info, logits_p, logits_q):
    """Infinite where q forbids what p does not; unless p is about to underflow."""
    log_p = logits_p - np.logaddexp.reduce(logits_p, axis=1, keepdims=True)
    forbidden = np.where(logits_q == -np.inf, log_p, -np.inf).max(axis=1)
    least = math.log(float(info.tiny))
    doubtful = (forbidden < 0.9 * least) & (forbidden > 1.1 * least)
    return np.where(doubtful, ANYTHING, np.where(forbidden > least, np.inf, 0))


def mahalanobis(info, x, loc, tril):
    scale = np.diagonal(tril, axis1=1, axis2=2)
    z = np.linalg.solve(np.tril(tril / scale[:, :, None]), ((x - loc) / scale)[:, :, None])
    return overflow(info, np.sum(z**2, axis=(1, 2)), -1)


def squared_distance(info, x, loc, scale):
    return overflow(info, ((x - loc) / scale) ** 2, -1)


def not_inside(low_p, high_p, low_q, high_q):
    return (low_q > low_p) | (high_p > high_q)


def sampler(function: Callable, arguments: list[Argument], **facts: Any) -> Case:
    return Case(function, arguments, is_sampler=True, **facts)


def sample_mixture(key, logits, loc, scale):
    return mixture.sample(key, logits, lambda key, i: normal.sample(key, loc[i], scale[i]))


def reduced_bessel(order, x):
    return jnp.stack([bessel.log_reduced(order, x), *bessel.ratio(order, x)])


def level_is_off(x, *_):
    return ~((x >= 0) & (x <= 255) & (x == np.floor(x)))


def count_is_off(x, *_):
    return ~((x >= 0) & (x == np.floor(x)))


def never_but_0(info, x, mean, *_):
    return np.where((mean == 0) & (x > 0), -np.inf, 0)


CASES = {
    "bernoulli.log_prob": Case(
        bernoulli.log_prob, [BIT, LOGIT], outside=lambda x, _: (x != 0) & (x != 1)
    ),
    "bernoulli.joint_log_prob": Case(
        bernoulli.joint_log_prob,
        [BITS, FINITE_LOGITS],
        outside=lambda x, _: ((x != 0) & (x != 1)).any(axis=1),
    ),
    "bernoulli.entropy": Case(bernoulli.entropy, [LOGIT]),
    "bernoulli.kl": Case(bernoulli.kl, [LOGIT, LOGIT]),
    "bernoulli.sample": sampler(bernoulli.sample, [LOGIT]),
    **{
        f"bessel.log_bessel_i on order {order}": Case(
            partial(bessel.log_bessel_i, order),
            [NOT_NEGATIVE],
            lambda info, x, order=order: np.where((x == 0) & (order > 0), -np.inf, 0),
        )
        for order in (0.0, 0.5, 49.0)
    },
    **{
        f"bessel.log_reduced and ratio on order {order}": Case(
            partial(reduced_bessel, order), [NOT_NEGATIVE]
        )
        for order in (0.0, 0.5, 49.0)
    },
    "beta.log_prob": Case(
        beta.log_prob,
        [INTERVAL, CONCENTRATION, CONCENTRATION],
        beta_ends,
        outside=lambda x, a, b: (x < 0) | (x > 1),
    ),
    "beta.log_beta": Case(beta.log_beta, [CONCENTRATION, CONCENTRATION], says_nan=False),
    "beta.entropy": Case(beta.entropy, [CONCENTRATION, CONCENTRATION]),
    "beta.kl": Case(beta.kl, [CONCENTRATION] * 4),
    "beta.sample": sampler(beta.sample, [CONCENTRATION, CONCENTRATION]),
    "beta.sample_logit": sampler(beta.sample_logit, [CONCENTRATION, CONCENTRATION]),
    "categorical.log_prob": Case(
        categorical.log_prob,
        [INDEX, LOGITS],
        categorical_off,
        outside=lambda x, _: (x < 0) | (x >= DIM),
    ),
    "categorical.entropy": Case(categorical.entropy, [LOGITS]),
    "categorical.kl": Case(categorical.kl, [LOGITS, LOGITS], categorical_kl_off),
    "categorical.sample": sampler(categorical.sample, [LOGITS], says_nan=False),
    "dirichlet.log_prob": Case(
        dirichlet.log_prob, [SIMPLEX, CONCENTRATIONS], dirichlet_ends, outside=off_simplex
    ),
    "dirichlet.entropy": Case(dirichlet.entropy, [CONCENTRATIONS]),
    "dirichlet.kl": Case(dirichlet.kl, [CONCENTRATIONS, CONCENTRATIONS]),
    "dirichlet.sample": sampler(dirichlet.sample, [CONCENTRATIONS]),
    "dirichlet.sample_log": sampler(dirichlet.sample_log, [CONCENTRATIONS]),
    "discretized_logistic.log_prob": Case(
        discretized_logistic.log_prob, [LEVEL, MODERATE, SCALE], outside=level_is_off
    ),
    "discretized_logistic.sample": sampler(discretized_logistic.sample, [MODERATE, SCALE]),
    "discretized_logistic_mixture.log_prob": Case(
        discretized_logistic_mixture.log_prob,
        [LEVEL, LOGITS, MODERATE_VECTOR, SCALES],
        outside=level_is_off,
    ),
    "discretized_logistic_mixture.sample": sampler(
        discretized_logistic_mixture.sample, [LOGITS, MODERATE_VECTOR, SCALES], says_nan=False
    ),
    "gamma.log_prob": Case(
        gamma.log_prob,
        [MODERATE, CONCENTRATION, SCALE],
        lambda info, x, a, b: at_zero(x, a - 1),
        outside=lambda x, a, b: x < 0,
    ),
    "gamma.entropy": Case(gamma.entropy, [CONCENTRATION, SCALE]),
    "gamma.kl": Case(gamma.kl, [CONCENTRATION, SCALE, CONCENTRATION, SCALE]),
    "gamma.sample": sampler(gamma.sample, [CONCENTRATION, SCALE]),
    "gamma.sample_log": sampler(gamma.sample_log, [CONCENTRATION, SCALE]),
    "gumbel_softmax.log_prob": Case(
        gumbel_softmax.log_prob,
        [SIMPLEX, FINITE_LOGITS, TEMPERATURE],
        outside=lambda x, *_: off_simplex(x) | (x == 0).any(axis=1),
    ),
    "gumbel_softmax.log_prob_of_log": Case(
        gumbel_softmax.log_prob_of_log,
        [LOG_SIMPLEX, FINITE_LOGITS, TEMPERATURE],
        outside=lambda y, *_: off_simplex(np.exp(y)) | (y == -np.inf).any(axis=1),
    ),
    "gumbel_softmax.sample": sampler(gumbel_softmax.sample, [FINITE_LOGITS, TEMPERATURE]),
    "gumbel_softmax.sample_log": sampler(gumbel_softmax.sample_log, [FINITE_LOGITS, TEMPERATURE]),
    "gumbel_softmax.straight_through": sampler(
        gumbel_softmax.straight_through, [FINITE_LOGITS, TEMPERATURE]
    ),
    "laplace.log_prob": Case(laplace.log_prob, [MODERATE, MODERATE, SCALE]),
    "laplace.entropy": Case(laplace.entropy, [MODERATE, SCALE]),
    "laplace.kl": Case(laplace.kl, [MODERATE, SCALE, MODERATE, SCALE]),
    "laplace.sample": sampler(laplace.sample, [LARGE, SCALE]),
    "logistic.softplus": Case(logistic.softplus, [LARGE]),
    "logistic.log_prob": Case(logistic.log_prob, [MODERATE, MODERATE, SCALE]),
    "logistic.entropy": Case(logistic.entropy, [MODERATE, SCALE]),
    "logistic.sample": sampler(logistic.sample, [LARGE, SCALE]),
    "low_rank_normal.log_prob": Case(
        low_rank_normal.log_prob, [MODERATE_VECTOR, MODERATE_VECTOR, FACTOR, WIDE_SCALES]
    ),
    "low_rank_normal.entropy": Case(
        low_rank_normal.entropy, [MODERATE_VECTOR, FACTOR, WIDE_SCALES]
    ),
    "low_rank_normal.kl": Case(low_rank_normal.kl, [MODERATE_VECTOR, FACTOR, WIDE_SCALES] * 2),
    "low_rank_normal.sample": sampler(low_rank_normal.sample, [LOCATIONS, FACTOR, WIDE_SCALES]),
    "mixture.log_prob": Case(mixture.log_prob, [LOG_PROBS, LOGITS], outside=all_off),
    "mixture.responsibilities": Case(mixture.responsibilities, [LOG_PROBS, LOGITS]),
    "mixture.sample": sampler(sample_mixture, [LOGITS, LOCATIONS, SCALES], says_nan=False),
    "multivariate_normal.log_prob": Case(
        multivariate_normal.log_prob, [MODERATE_VECTOR, MODERATE_VECTOR, TRIANGLE], mahalanobis
    ),
    "multivariate_normal.entropy": Case(multivariate_normal.entropy, [LOCATIONS, TRIANGLE]),
    "multivariate_normal.kl": Case(multivariate_normal.kl, [MODERATE_VECTOR, NARROW_TRIANGLE] * 2),
    "multivariate_normal.sample": sampler(multivariate_normal.sample, [LOCATIONS, TRIANGLE]),
    "normal.log_prob": Case(normal.log_prob, [LARGE, LARGE, SCALE], squared_distance),
    "normal.entropy": Case(normal.entropy, [LARGE, SCALE]),
    "normal.kl": Case(normal.kl, [MODERATE, SCALE, MODERATE, SCALE]),
    "normal.sample": sampler(normal.sample, [LARGE, SCALE]),
    "negative_binomial.log_prob": Case(
        negative_binomial.log_prob, [COUNT, RATE, CONCENTRATION], never_but_0, outside=count_is_off
    ),
    "negative_binomial.sample": sampler(negative_binomial.sample, [RATE, CONCENTRATION]),
    "poisson.log_prob": Case(poisson.log_prob, [COUNT, RATE], never_but_0, outside=count_is_off),
    "poisson.kl": Case(
        poisson.kl, [RATE, RATE], lambda info, p, q: np.where((q == 0) & (p > 0), np.inf, 0)
    ),
    "poisson.sample": sampler(poisson.sample, [RATE]),
    "relaxed_bernoulli.log_prob": Case(
        relaxed_bernoulli.log_prob,
        [INTERVAL, LOGIT, TEMPERATURE],
        outside=lambda x, *_: (x <= 0) | (x >= 1),
    ),
    "relaxed_bernoulli.log_prob_of_logit": Case(
        relaxed_bernoulli.log_prob_of_logit, [MODERATE, LOGIT, TEMPERATURE]
    ),
    "relaxed_bernoulli.sample": sampler(relaxed_bernoulli.sample, [LOGIT, TEMPERATURE]),
    "relaxed_bernoulli.sample_logit": sampler(relaxed_bernoulli.sample_logit, [LOGIT, TEMPERATURE]),
    "relaxed_bernoulli.straight_through": sampler(
        relaxed_bernoulli.straight_through, [LOGIT, TEMPERATURE]
    ),
    "student_t.log_prob": Case(student_t.log_prob, [MODERATE, CONCENTRATION, MODERATE, SCALE]),
    "student_t.entropy": Case(student_t.entropy, [CONCENTRATION, MODERATE, SCALE]),
    # With few degrees of freedom most draws are beyond the largest float.
    "student_t.sample": sampler(
        student_t.sample,
        [CONCENTRATION, MODERATE, SCALE],
        infinite=anything,
        has_nan_gradient_if_infinite=True,
    ),
    "uniform.log_prob": Case(
        uniform.log_prob,
        [LARGE, LARGE, LARGE],
        outside=lambda x, low, high: (x < low) | (x > high),
        is_invalid=lambda x, low, high: high <= low,
    ),
    "uniform.entropy": Case(
        uniform.entropy, [LARGE, LARGE], is_invalid=lambda low, high: high <= low
    ),
    "uniform.kl": Case(
        uniform.kl,
        [LARGE] * 4,
        lambda info, *ends: np.where(not_inside(*ends), np.inf, 0),
        is_invalid=lambda low_p, high_p, low_q, high_q: (high_p <= low_p) | (high_q <= low_q),
    ),
    "uniform.sample": sampler(
        uniform.sample, [LARGE, LARGE], is_invalid=lambda low, high: high <= low
    ),
    "von_mises_fisher.log_prob": Case(
        von_mises_fisher.log_prob,
        [POINT, DIRECTION, KAPPA],
        outside=lambda x, *_: ~is_unit(x),
    ),
    "von_mises_fisher.log_prob on the circle": Case(
        von_mises_fisher.log_prob,
        [POINT_OF_CIRCLE, CIRCLE, KAPPA],
        outside=lambda x, *_: ~is_unit(x),
    ),
    "von_mises_fisher.entropy": Case(von_mises_fisher.entropy, [DIRECTION, KAPPA]),
    "von_mises_fisher.kl_to_uniform": Case(von_mises_fisher.kl_to_uniform, [DIRECTION, KAPPA]),
    "von_mises_fisher.kl": Case(von_mises_fisher.kl, [DIRECTION, KAPPA, DIRECTION, KAPPA]),
    "von_mises_fisher.sample": sampler(von_mises_fisher.sample, [DIRECTION, KAPPA]),
    "von_mises_fisher.sample on the circle": sampler(von_mises_fisher.sample, [CIRCLE, KAPPA]),
}


def draw_arguments(case: Case, rng: np.random.Generator, n: int, dtype: Any) -> list[np.ndarray]:
    """Arguments of n calls; sometimes two of a kind agree, or nearly."""
    drawn = [argument.draw(rng, n) for argument in case.arguments]
    for i, kind in enumerate(case.arguments):
        for j in range(i):
            if case.arguments[j] is kind:
                apart = rng.choice([0.0, 0.03 * np.sqrt(np.finfo(dtype).eps)], drawn[j].shape)
                copied = (rng.random(n) < 0.15).reshape(n, *[1] * (drawn[i].ndim - 1))
                drawn[i] = np.where(copied, drawn[j] * (1 + apart), drawn[i])
    dtypes = [np.int32 if argument.is_integer else dtype for argument in case.arguments]
    return [value.astype(d) for value, d in zip(drawn, dtypes, strict=True)]


def by_call(mask: np.ndarray, n: int) -> np.ndarray:
    """Whether a mask holds anywhere in the event of each call."""
    return np.any(np.asarray(mask).reshape(n, -1), axis=1)


def evaluate(case: Case, arguments: list[np.ndarray], seed: int):
    """Values and Jacobians of all calls, one array an argument that has a gradient."""
    argnums = [i for i, a in enumerate(case.arguments) if a.has_gradient and not a.is_integer]
    keys = [jax.random.split(jax.random.key(seed), len(arguments[0]))] * case.is_sampler
    argnums = tuple(i + case.is_sampler for i in argnums)

    def twice(*given):
        value = case.function(*given)
        return value, value

    f = jax.jacrev(twice, argnums, has_aux=True)
    if case.function is categorical.sample:  # an index has no gradient
        f = lambda *given: ((), case.function(*given))
    gradients, value = jax.jit(jax.vmap(f))(*keys, *arguments)
    return np.asarray(value), [np.asarray(gradient) for gradient in gradients]


def failures(name: str, dtype: Any, n: int) -> list[str]:
    """What is wrong with n calls of a case: what, how often, and the first such call."""
    case, seed = CASES[name], zlib.crc32(name.encode())
    arguments = draw_arguments(case, np.random.default_rng(seed), n, dtype)
    value, gradients = evaluate(case, arguments, seed)
    wide = [argument.astype(np.float64) for argument in arguments]
    with np.errstate(all="ignore"):
        invalid = np.broadcast_to(case.is_invalid(*wide), n)
        for argument, given in zip(case.arguments, wide, strict=True):
            invalid = invalid | by_call(~argument.is_valid(given), n) | by_call(np.isnan(given), n)
        outside = np.broadcast_to(case.outside(*wide), n) & ~invalid
        infinite = np.where(outside, -np.inf, case.infinite(np.finfo(dtype), *wide))
    is_nan = by_call(np.isnan(value), n)
    rows = value.reshape(n, -1)
    right = np.where(
        infinite == 0,
        np.isfinite(rows).all(axis=1),
        (rows[:, 0] == infinite) & np.isfinite(rows[:, 1:]).all(axis=1),
    )
    problems = {
        "a NaN": is_nan & ~invalid,
        "no NaN for bad arguments": ~is_nan & invalid & case.says_nan,
        "wrongly finite or infinite": ~invalid & ~is_nan & ~right & ~np.isnan(infinite),
    }
    for i, gradient in enumerate(gradients):
        bad = by_call(np.isnan(gradient), n) & ~invalid
        if case.has_nan_gradient_if_infinite:
            bad = bad & ~np.isinf(value)
        problems[f"a NaN in gradient {i}"] = bad
        problems[f"gradient {i} off the support"] = outside & by_call(gradient != 0, n) & ~bad
    return [
        f"{name}, {np.dtype(dtype).name}: {what} in {mask.sum()} calls of {n}, such as "
        f"{[argument[mask][0].tolist() for argument in arguments]}: value "
        f"{value[mask][0].tolist()}, gradients {[g[mask][0].tolist() for g in gradients]}"
        for what, mask in problems.items()
        if mask.any()
    ]


@pytest.mark.parametrize("name", CASES)
def test_a_thousand_calls_in_float32(name):
    assert failures(name, np.float32, 1_000) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_million_calls(name, dtype):
    with jax.enable_x64(dtype == np.float64):
        assert failures(name, dtype, 1 + 1_000_000 // (2 * len(CASES))) == []


def test_every_density_is_called():
    helpers = {
        "check_num_levels",
        "count_features",
        "check_shape",
        "inside_unit_interval",
        "is_outside",
        "log_area",
        "log_zero_power",
        "mass_times",
        "off_simplex",
        "scaled",
        "stirling_error",
    }
    # Those in terms of natural parameters, and the records, have tests of their own.
    families = {
        "digamma_equations",
        "distribution",
        "exponential_families",
        "exponential_family",
        "moment_matching",
    }
    expected = {
        f"{module}.{name}"
        for module in set(densities.__all__) - families
        for name, member in vars(getattr(densities, module)).items()
        if callable(member)
        and not inspect.isclass(member)
        and getattr(member, "__module__", "") == f"genmix.densities.{module}"
        and not name.startswith("_")
    }
    called = {name.split(" ")[0] for name in CASES} | {"bessel.ratio"}
    assert expected - called == {name for name in expected if name.split(".")[1] in helpers}
