"""The von Mises-Fisher distribution on the unit sphere of R^d, d >= 2.

Its density with respect to surface measure is proportional to exp(concentration * <mean_direction,
x>); concentration 0 is the uniform distribution. A vector counts as a unit vector if its squared
length is within sqrt(eps) of 1: 3.5e-4 in float32, 1.5e-8 in float64.
"""

import dataclasses
import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Key

from genmix.densities import bessel, beta
from genmix.densities.distribution import Event, Numbers, sample_entries, sum_entries
from genmix.densities.multivariate_normal import Vector, check_shape

Scalar = Float[ArrayLike, ""]

_MAX_TRIES = 100  # each succeeds with probability above 0.6
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)


def log_prob(x: Vector, mean_direction: Vector, concentration: Scalar) -> Float[Array, ""]:
    """Log-density at x [d], in nats, per area of the sphere.

    -inf with zero gradient where x is not a unit vector. The gradients in x and mean_direction are
    those of -concentration / 2 * |x - mean_direction|**2: right along the sphere, where alone they
    mean something. NaN if the concentration is negative, mean_direction is not a unit vector or an
    argument is NaN.

    Raises:
        ValueError: if d < 2, or x does not fit mean_direction.

    Source: Mardia & Jupp (2000), Directional Statistics, section 9.3.2.
    """
    check_shape("x", x, mean_direction.shape)
    order, kappa = _order(mean_direction), jnp.asarray(concentration)
    outside = ~(_is_unit(x) | jnp.any(jnp.isnan(x)))
    inner_x = jnp.where(outside, mean_direction, x)
    # kappa <mu, x> - kappa, without the cancellation at high concentration.
    exponent = -0.5 * kappa * jnp.sum((inner_x - mean_direction) ** 2)
    value = exponent - bessel.log_reduced(order, kappa) - log_area(x.size)
    value = jnp.where(outside, -jnp.inf, value)
    return _nan_unless_valid(value, mean_direction, kappa)


def log_area(dim: int) -> float:
    """Log of the area of the unit sphere of R^dim (the circumference of the circle for dim = 2)."""
    return math.log(2) + 0.5 * dim * math.log(math.pi) - math.lgamma(0.5 * dim)


def entropy(mean_direction: Vector, concentration: Scalar) -> Float[Array, ""]:
    """Entropy with respect to surface measure, in nats; NaN for bad parameters.

    Raises:
        ValueError: if d < 2.
    """
    return log_area(mean_direction.size) - kl_to_uniform(mean_direction, concentration)


def kl_to_uniform(mean_direction: Vector, concentration: Scalar) -> Float[Array, ""]:
    """KL(vMF || uniform distribution on the sphere), in nats; NaN for bad parameters.

    Raises:
        ValueError: if d < 2.

    Source: Davidson et al. (2018), arXiv:1804.00891, section 3.
    """
    order, kappa = _order(mean_direction), jnp.asarray(concentration)
    _, one_minus_mean = bessel.ratio(order, kappa)
    value = -kappa * one_minus_mean - bessel.log_reduced(order, kappa)
    return _nan_unless_valid(value, mean_direction, kappa)


def kl(
    mean_direction_p: Vector,
    concentration_p: Scalar,
    mean_direction_q: Vector,
    concentration_q: Scalar,
) -> Float[Array, ""]:
    """KL(p || q) of two von Mises-Fisher distributions, in nats; NaN for bad parameters.

    Raises:
        ValueError: if d < 2, or mean_direction_q does not fit mean_direction_p.
    """
    check_shape("mean_direction_q", mean_direction_q, mean_direction_p.shape)
    order = _order(mean_direction_p)
    kappa_p, kappa_q = jnp.asarray(concentration_p), jnp.asarray(concentration_q)
    mean, one_minus_mean = bessel.ratio(order, kappa_p)
    distance = 0.5 * jnp.sum((mean_direction_p - mean_direction_q) ** 2)  # 1 - <mu_p, mu_q>
    value = (
        (kappa_q - kappa_p) * one_minus_mean
        + (bessel.log_reduced(order, kappa_q) - bessel.log_reduced(order, kappa_p))
        + kappa_q * mean * distance
    )
    value = _nan_unless_valid(value, mean_direction_p, kappa_p)
    return _nan_unless_valid(value, mean_direction_q, kappa_q)


def sample(
    key: Key[Array, ""], mean_direction: Vector, concentration: Scalar
) -> Float[Array, " _"]:
    """Draw a unit vector [d]; differentiable in both parameters.

    In mean_direction through the reflection that carries a coordinate axis there, in the
    concentration by implicit differentiation of the CDF of the angle to it, with an integral done
    by quadrature to a relative error below 1e-9 in float64, 1e-3 in float32. NaN for bad
    parameters.

    Raises:
        ValueError: if d < 2.

    Source: Wood (1994), Simulation of the von Mises Fisher distribution; Davidson et al. (2018),
    arXiv:1804.00891, section 3; Figurnov et al. (2018), arXiv:1805.08498, section 3.
    """
    dim = 2 * _order(mean_direction) + 2
    dtype = jnp.result_type(mean_direction, concentration)
    angle_key, tangent_key = jax.random.split(key)
    kappa = jnp.asarray(concentration, dtype)
    angle = _sample_angle(angle_key, dim, lax.stop_gradient(kappa))
    angle = _with_implicit_gradient(dim, angle, kappa)
    tangent = jax.random.normal(tangent_key, (mean_direction.size - 1,), dtype)
    tangent /= jnp.linalg.norm(tangent)
    draw = jnp.concatenate([jnp.cos(angle)[None], jnp.sin(angle) * tangent])
    draw = _rotate_first_axis_to(mean_direction, draw)
    return _nan_unless_valid(draw, mean_direction, kappa)


class Parameters(NamedTuple):
    """Of one entry, a vector, or several."""

    mean_direction: Float[Array, "*entries dim"]
    concentration: Float[Array, "*entries"]


@dataclasses.dataclass(frozen=True)
class VonMisesFisher:
    """Unit vectors of `dim` entries, by a vector along the mean direction, then the concentration.

    The concentration is the softplus of its number. The vector 0 has no direction: it counts as the
    first axis, without a gradient.

    Args:
        concentration: the same for all, so that a number less is left; 0 is the uniform
            distribution.
    """

    dim: int
    concentration: float | None = None

    def __post_init__(self):
        if self.dim < 2:
            raise ValueError(f"dim must be at least 2, got {self.dim}.")
        if self.concentration is not None and not 0 <= self.concentration < math.inf:
            raise ValueError(
                f"concentration must be finite and at least 0, got {self.concentration}."
            )

    @property
    def entry_shape(self) -> tuple[int, ...]:
        return (self.dim,)

    @property
    def num_parameters(self) -> int:
        return self.dim + (self.concentration is None)

    def parameters(self, numbers: Numbers) -> Parameters:
        direction = _normalized(numbers[..., : self.dim])
        if self.concentration is None:
            return Parameters(direction, jax.nn.softplus(numbers[..., -1]))
        kappa = jnp.full(numbers.shape[:-1], self.concentration, numbers.dtype)
        return Parameters(direction, kappa)

    def log_prob(self, x: Event, numbers: Numbers) -> Float[Array, ""]:
        return sum_entries(lambda x, n: log_prob(x, *self.parameters(n)), x, numbers)

    def sample(self, key: Key[Array, ""], numbers: Numbers) -> Event:
        return sample_entries(lambda key, n: sample(key, *self.parameters(n)), key, numbers)

    def sample_and_log_prob(
        self, key: Key[Array, ""], numbers: Numbers
    ) -> tuple[Event, Float[Array, ""]]:
        x = self.sample(key, numbers)
        return x, self.log_prob(x, numbers)

    def mean(self, numbers: Numbers) -> Event:
        direction, kappa = self.parameters(numbers)
        length, _ = jnp.vectorize(partial(bessel.ratio, self.dim / 2 - 1))(kappa)
        return length[..., None] * direction

    def kl(self, p: Parameters, q: Parameters) -> Float[Array, "*entries"]:
        return jnp.vectorize(kl, signature="(d),(),(d),()->()")(*p, *q)


def _normalized(vector: Float[Array, "*entries dim"]) -> Float[Array, "*entries dim"]:
    # By the largest entry first, so that no square overflows or vanishes.
    largest = lax.stop_gradient(jnp.max(jnp.abs(vector), axis=-1, keepdims=True))
    first = jnp.zeros(vector.shape[-1], vector.dtype).at[0].set(1.0)
    safe = jnp.where(largest > 0, vector / jnp.where(largest > 0, largest, 1.0), first)
    return safe / jnp.linalg.norm(safe, axis=-1, keepdims=True)


def _order(mean_direction: Array) -> float:
    if mean_direction.size < 2:
        raise ValueError(
            f"mean_direction must have at least 2 entries, got {mean_direction.size}: "
            "the sphere of R^1 is two points."
        )
    return mean_direction.size / 2 - 1


def _is_unit(x: Array) -> Array:
    return jnp.abs(jnp.sum(x**2) - 1) <= jnp.sqrt(jnp.finfo(x.dtype).eps)


def _nan_unless_valid(value: Array, mean_direction: Array, concentration: Array) -> Array:
    return jnp.where(_is_unit(mean_direction) & (concentration >= 0), value, jnp.nan)


def _rotate_first_axis_to(mean_direction: Array, x: Array) -> Array:
    """Reflect x so that the first axis e goes to mean_direction.

    The Householder reflection in u = mu + s e, with s the sign of mu_1, maps e to -s mu. Davidson
    et al. take s = -1, which divides by zero at mu = e; with this sign |u|**2 >= 2.
    """
    sign = jnp.where(mean_direction[0] < 0, -1.0, 1.0)
    u = mean_direction.at[0].add(sign)
    # A dot product: XLA on CPUs (jaxlib 0.10.2, 0.11.0) may get a vmapped sum times u wrong.
    along = jnp.dot(u, x, precision=lax.Precision.HIGHEST) / jnp.sum(u**2)
    return -sign * (x - 2 * along * u)


def _sample_angle(key: Array, dim: float, concentration: Array) -> Array:
    """Draw the angle to the mean direction, of density ~ sin(t)**(d - 2) exp(kappa cos(t)).

    Wood's rejection from an angle with tan(t / 2)**2 = b z / (1 - z), z ~ Beta((d - 1) / 2, same),
    written in 1 - cos(t) so that nothing cancels at high concentration. NaN if all tries fail.
    """
    b = (dim - 1) / (2 * concentration + jnp.sqrt(4 * concentration**2 + (dim - 1) ** 2))
    shape = jnp.asarray((dim - 1) / 2, concentration.dtype)

    def is_missing(state):
        _, angle, num_tries = state
        return jnp.isnan(angle) & (num_tries < _MAX_TRIES)

    def propose(state):
        key, _, num_tries = state
        key, beta_key, accept_key = jax.random.split(key, 3)
        logit = beta.sample_logit(beta_key, shape, shape)
        angle = 2 * jnp.atan(jnp.sqrt(b) * jnp.exp(logit / 2))
        t = 2 * jnp.sin(angle / 2) ** 2  # 1 - cos(angle)
        log_accept = concentration * (2 * b / (1 + b) - t) + (dim - 1) * jnp.log(
            (1 + b) * (2 * b + (1 - b) * t) / (4 * b)
        )
        u = jax.random.uniform(accept_key, dtype=concentration.dtype)
        return key, jnp.where(jnp.log(u) < log_accept, angle, jnp.nan), num_tries + 1

    start = (key, jnp.full_like(concentration, jnp.nan), 0)
    return lax.while_loop(is_missing, propose, start)[1]


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _with_implicit_gradient(dim: float, angle: Array, concentration: Array) -> Array:
    """Return angle, a draw at this concentration, with its derivative in that attached."""
    return angle


@_with_implicit_gradient.defjvp
def _with_implicit_gradient_jvp(dim, primals, tangents):
    angle, concentration = primals
    return angle, _angle_derivative(dim, angle, concentration) * tangents[1]


def _angle_derivative(dim: float, angle: Array, concentration: Array) -> Array:
    """Implicit derivative of the angle in kappa: int_0^angle (E[cos] - cos t) q(t) dt / -q(angle).

    The integral to pi is minus that from 0. Taken on the side of the angle that is away from the
    mode, where q falls, and to a distance at which it has fallen by e**-35, it needs few nodes.
    """
    power = dim - 2
    _, mean_gap = bessel.ratio(dim / 2 - 1, concentration)  # E[1 - cos]
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    is_below_mode = power * cos > concentration * sin**2
    width = 18 / jnp.sqrt(power + concentration)
    width = jnp.minimum(width, jnp.where(is_below_mode, angle, math.pi - angle))
    step = jnp.where(is_below_mode, -1.0, 1.0) * width * (0.5 + 0.5 * _NODES.astype(angle.dtype))
    # log q(angle + step) - log q(angle), then 1 - cos(angle + step) - E[1 - cos]
    log_q = -2 * concentration * jnp.sin(angle + step / 2) * jnp.sin(step / 2)
    if power > 0:
        log_q += power * jnp.log(jnp.abs(jnp.sin(angle + step) / sin))
    gap = 2 * jnp.sin((angle + step) / 2) ** 2 - mean_gap
    integral = 0.5 * width * jnp.sum(_WEIGHTS.astype(angle.dtype) * gap * jnp.exp(log_q))
    derivative = jnp.where(is_below_mode, integral, -integral)
    return jnp.where(sin == 0, 0.0, derivative)
