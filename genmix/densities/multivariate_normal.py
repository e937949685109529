"""Multivariate normal distribution by the Cholesky factor of its covariance; one event."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, Key

from genmix.densities import normal
from genmix.densities.distribution import (
    Event,
    Numbers,
    check_positive,
    sample_entries,
    sum_entries,
)

# Sizes are compared by check_shape, whose errors say more than a type checker's.
Vector = Float[Array, " _"]
Matrix = Float[Array, "_ _"]


def check_shape(name: str, value: Array, expected: tuple[int, ...]) -> None:
    """Compare one argument's shape with what the other arguments imply.

    Raises:
        ValueError: if they differ; it names the argument and both shapes.
    """
    if value.shape != expected:
        raise ValueError(
            f"{name} must have shape {expected}, got {value.shape}: "
            "one event per call, use jax.vmap for a batch."
        )


def log_prob(x: Vector, loc: Vector, scale_tril: Matrix) -> Float[Array, ""]:
    """Log-density of N(loc, L L^T) at one event x [d], in nats, with L = tril(scale_tril).

    Entries above the diagonal of scale_tril [d, d] are ignored and have zero gradient. NaN where
    an entry of L's diagonal is <= 0 or any argument is NaN; -inf where the squared Mahalanobis
    distance overflows (the gradient in scale_tril overflows to infinities earlier). Where even
    L^-1 (x - loc) or L^-T L^-1 (x - loc) overflows, infinities meet, and value or gradient may be
    NaN: in float32 not before |x - loc| is 1e38 times the square of the smallest scale.

    Raises:
        ValueError: if x or scale_tril does not fit loc.

    Source: Bishop (2006), Pattern Recognition and Machine Learning, equation 2.43.
    """
    check_shape("x", x, loc.shape)
    tril = _lower_triangle(loc, scale_tril)
    z = solve_triangular(tril, x - loc, lower=True)
    return jnp.sum(normal.log_prob(z, 0.0, 1.0)) - jnp.sum(jnp.log(jnp.diag(tril)))


def sample(key: Key[Array, ""], loc: Vector, scale_tril: Matrix) -> Float[Array, " _"]:
    """One draw [d], reparameterized: differentiable in loc and scale_tril.

    NaN if an entry of the diagonal is <= 0 or NaN.

    Raises:
        ValueError: if scale_tril does not fit loc.
    """
    tril = _lower_triangle(loc, scale_tril)
    noise = jax.random.normal(key, loc.shape, jnp.result_type(loc, scale_tril))
    # Accelerators multiply float32 matrices in fewer bits unless told not to.
    draw = loc + jnp.matmul(tril, noise, precision=jax.lax.Precision.HIGHEST)
    return jnp.where(jnp.all(jnp.diag(tril) > 0), draw, jnp.nan)


def entropy(loc: Vector, scale_tril: Matrix) -> Float[Array, ""]:
    """Differential entropy of the event, in nats; NaN where `log_prob` is.

    Raises:
        ValueError: if scale_tril does not fit loc.
    """
    return jnp.sum(normal.entropy(loc, jnp.diag(_lower_triangle(loc, scale_tril))))


def kl(
    loc_p: Vector, scale_tril_p: Matrix, loc_q: Vector, scale_tril_q: Matrix
) -> Float[Array, ""]:
    """KL(p || q) of the event, in nats.

    NaN where an entry of a diagonal is <= 0 or any argument is NaN; inf where a square overflows.
    A gradient, a cube, overflows earlier and may be NaN then: in float32 from a ratio of scales of
    1e12 on.

    Raises:
        ValueError: if the shapes do not fit loc_p.

    Source: Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, equation A.23.
    """
    check_shape("loc_q", loc_q, loc_p.shape)
    tril_p = _lower_triangle(loc_p, scale_tril_p)
    tril_q = _lower_triangle(loc_q, scale_tril_q)
    # The trace and the determinants meet on the diagonals; normal.kl cancels them stably.
    diagonal = jnp.sum(normal.kl(0.0, jnp.diag(tril_p), 0.0, jnp.diag(tril_q)))
    ratio = jnp.tril(solve_triangular(tril_q, tril_p, lower=True), -1)
    z = solve_triangular(tril_q, loc_p - loc_q, lower=True)
    return diagonal + 0.5 * (jnp.sum(ratio**2) + jnp.sum(z**2))


def _lower_triangle(loc: Array, scale_tril: Array) -> Array:
    check_shape("scale_tril", scale_tril, loc.shape * 2)
    return jnp.tril(scale_tril)


class Parameters(NamedTuple):
    """Of one entry, a vector, or several."""

    loc: Float[Array, "*entries dim"]
    scale_tril: Float[Array, "*entries dim dim"]


@dataclasses.dataclass(frozen=True)
class FullNormal:
    """Vectors of `dim` entries, by loc and then the lower triangle of L, row by row.

    The covariance is L L^T, the diagonal of L min_scale + softplus(raw).
    """

    dim: int
    min_scale: float = 1e-4

    def __post_init__(self):
        check_positive(dim=self.dim, min_scale=self.min_scale)

    @property
    def entry_shape(self) -> tuple[int, ...]:
        return (self.dim,)

    @property
    def num_parameters(self) -> int:
        return self.dim + self.dim * (self.dim + 1) // 2

    def parameters(self, numbers: Numbers) -> Parameters:
        d = self.dim
        loc, raw = numbers[..., :d], numbers[..., d:]
        rows, columns = jnp.tril_indices(d)
        tril = jnp.zeros((*loc.shape, d), raw.dtype).at[..., rows, columns].set(raw)
        raw_scale = jnp.diagonal(tril, axis1=-2, axis2=-1)
        scale = self.min_scale + jax.nn.softplus(raw_scale)
        i = jnp.arange(d)
        return Parameters(loc, tril.at[..., i, i].set(scale))

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
        return self.parameters(numbers).loc

    def kl(self, p: Parameters, q: Parameters) -> Float[Array, "*entries"]:
        return jnp.vectorize(kl, signature="(d),(d,d),(d),(d,d)->()")(*p, *q)
