"""The modified Bessel function I_v(x) of the first kind, for real order v >= 0 and x >= 0.

Everything rests on the reduced logarithm

    h_v(x) = log(Gamma(v + 1) (2 / x)**v I_v(x)) - x,

which is 0 at x = 0, finite for all x, and has the derivative I_{v+1}(x) / I_v(x) - 1 in [-1, 0].

With r = sqrt(v**2 + x**2), the power series serves r < 30. Beyond, Debye's expansion, uniform in
x / v, is a series in 1 / r whose coefficients are polynomials in (v / r)**2: one formula for large
v, for large x and for both (at v = 0 it is the textbook expansion for large x). Both are exact to
rounding there; the order is a static number, so that its constants are computed in double.
"""

import math
from functools import partial, reduce

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

_RADIUS = 30.0  # the r at which the series hands over to the expansion
_NUM_SERIES = 48  # terms that the series needs at x = 30
_NUM_DEBYE = 12  # terms that the expansion needs at r = 30


def log_bessel_i(order: float, x: Float[ArrayLike, "*d"]) -> Float[Array, "*d"]:
    """Log of I_order(x), elementwise in x.

    The gradient in x is I_{v+1} / I_v + v / x. At x = 0 value and gradient are 0 for order 0, -inf
    and inf for order > 0. NaN where x < 0.

    Raises:
        ValueError: if order is negative or not finite.

    Source: NIST Digital Library of Mathematical Functions (DLMF), 10.25.2, 10.41.3 and 10.29.2.
    """
    x = jnp.asarray(x)
    value = log_reduced(order, x) + x
    if order == 0:  # 0 * log(0) would be NaN
        return value
    return value + (order * jnp.log(x / 2) - math.lgamma(order + 1))


def log_reduced(order: float, x: Float[ArrayLike, "*d"]) -> Float[Array, "*d"]:
    """Log of Gamma(order + 1) (2 / x)**order exp(-x) I_order(x), elementwise in x.

    0 at x = 0, then falling; for large x it is constant - (order + 1/2) log(x). NaN where x < 0.

    Raises:
        ValueError: if order is negative or not finite.
    """
    _check_order(order)
    return _log_reduced(float(order), jnp.asarray(x))


def ratio(order: float, x: Float[ArrayLike, "*d"]) -> tuple[Float[Array, "*d"], Float[Array, "*d"]]:
    """I_{order+1}(x) / I_order(x) and one minus that, elementwise in x.

    The ratio rises from 0 at x = 0 to 1. Each form keeps its digits where it is small, and so does
    its derivative in x. NaN where x < 0.

    Raises:
        ValueError: if order is negative or not finite.

    Source: DLMF, 10.25.2, and 10.41.3 with 10.41.5.
    """
    _check_order(order)
    small_x, large_x, is_small = _split(order, jnp.asarray(x))
    ratio_of_sums = (1 + _series(order + 1, small_x)) / (1 + _series(order, small_x))
    series = small_x * ratio_of_sums / (2 * (order + 1))
    r = jnp.hypot(order, large_x)
    # Halves, since a sum may be beyond the largest float, and ratios, since 1 / r may be below the
    # smallest and a product beyond the largest.
    correction = large_x / r * (_debye_sum(_W, order, r) / _debye_sum(_U, order, r))
    half_sum = 0.5 * r + 0.5 * order
    debye = 0.5 * large_x / half_sum + correction
    share = 0.5 * order / (0.5 * r + 0.5 * large_x)
    one_minus_debye = 0.5 * order / half_sum * (1 + share) - correction
    return jnp.where(is_small, series, debye), jnp.where(is_small, 1 - series, one_minus_debye)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _log_reduced(order: float, x: Array) -> Array:
    small_x, large_x, is_small = _split(order, x)
    series = jnp.log1p(_series(order, small_x)) - small_x
    r = jnp.hypot(order, large_x)
    above = large_x * (0.5 * large_x / (0.5 * r + 0.5 * order))  # r - order
    # lgamma(order + 1) less its Stirling formula, whose terms cancel those of the expansion at 0.
    constant = math.lgamma(order + 1) + order - 0.5 * math.log(2 * math.pi)
    debye = jnp.log(_debye_sum(_U, order, r)) - 0.5 * jnp.log(r)
    if order > 0:
        constant -= order * math.log(order)
        debye -= order * jnp.log1p(above / (2 * order))
    share = (0.5 * large_x + 0.5 * above) / (0.5 * r + 0.5 * large_x)
    debye += constant - order * share  # the last: r - order - x, of halves that do not overflow
    return jnp.where(is_small, series, debye)


@_log_reduced.defjvp
def _log_reduced_jvp(order, primals, tangents):
    """The recurrence I_v' = I_{v+1} + (v / x) I_v, in which v / x cancels."""
    _, one_minus_ratio = ratio(order, primals[0])
    return _log_reduced(order, primals[0]), -one_minus_ratio * tangents[0]


def _check_order(order: float) -> None:
    if not 0 <= order < math.inf:
        raise ValueError(f"order must be finite and at least 0, got {order}.")


def _split(order: float, x: Array) -> tuple[Array, Array, Array]:
    """Arguments for the series and the expansion, each harmless where the other is used."""
    start = math.sqrt(max(_RADIUS**2 - order**2, 0.0))
    x = jnp.where(x < 0, jnp.nan, x)
    is_small = x < start
    return jnp.where(is_small, x, 0.0), jnp.where(is_small, start, x), is_small


def _series(order: float, x: Array) -> Array:
    """sum_{k >= 1} (x**2 / 4)**k / (k! (v + 1) ... (v + k)), by Horner's rule; all terms >= 0."""
    y = (x / 2) ** 2
    total = jnp.zeros_like(x)
    for k in range(_NUM_SERIES, 0, -1):
        total = (1 + total) * (y / (k * (order + k)))
    return total


def _debye_sum(rows: list[list[float]], order: float, r: Array) -> Array:
    """sum_k P_k((order / r)**2) / r**k for the polynomials P_k, lowest coefficient first."""
    s = (order / r) ** 2
    total = jnp.zeros_like(r)
    for row in reversed(rows):
        total = total / r + reduce(lambda value, c: value * s + c, reversed(row))
    return total


def _debye_coefficients() -> tuple[list[list[float]], list[list[float]]]:
    """The polynomials of I_v and of what is left of I_v' / I_v, in s = p**2.

    U_k(p) = p**k u_k(s) and V_k(p) - U_k(p) = p**k (1 - s) w_k(s), lowest coefficient first;
    U_k and V_k follow the recurrences of DLMF section 10.41(ii).
    """
    u, w = [[1.0]], [[0.0]]
    for k in range(_NUM_DEBYE - 1):
        above, below = [*u[k], 0.0], [0.0, *u[k]]
        powers = range(k, 3 * k + 3, 2)  # of p, that of `above`; `below` has two fewer
        w.append([-(0.5 + power) * c for power, c in zip(powers, u[k], strict=False)])
        u.append(
            [
                (0.5 * p + 0.125 / (p + 1)) * c - (0.5 * (p - 2) + 0.625 / (p + 1)) * d
                for p, c, d in zip(powers, above, below, strict=True)
            ]
        )
    return u, w


_U, _W = _debye_coefficients()
