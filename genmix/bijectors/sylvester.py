"""Sylvester flows: planar flows with many planes at once, in three parametrizations.

All map x to x + Q R tanh(R' Q^T x + b), with R and R' upper triangular and Q's columns orthonormal.
The diagonals of R and R' are (1 - 1e-4) tanh of the parameters', so the products of their entries
stay above -1, which makes the map invertible; the inverse has no closed form.

Source: van den Berg et al. (2018), arXiv:1803.05649, sections 3 and 4.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PyTree

from genmix.bijectors.directions import LogDet, check_event
from genmix.bijectors.householder import reflect
from genmix.densities.multivariate_normal import check_shape

Vector = Float[Array, " _"]
Matrix = Float[Array, "_ _"]


def orthogonal(
    x: Vector, raw_q: Matrix, raw_r: Matrix, raw_s: Matrix, b: Vector
) -> tuple[Vector, LogDet]:
    """Sylvester flow with Q an orthonormal basis of the columns of raw_q [d, m], m <= d.

    raw_r and raw_s [m, m] give R and R'. The log-det is in nats. The basis is exact (by a QR
    decomposition); columns that depend on each other make the gradient infinite.

    Raises:
        ValueError: if the shapes do not fit.
    """
    if raw_q.shape[0] != x.size or raw_q.shape[1] > x.size:
        raise ValueError(
            f"raw_q must have shape [{x.size}, m] with m <= {x.size}, got {raw_q.shape}."
        )
    q, _ = jnp.linalg.qr(raw_q)
    return _sylvester(x, lambda h: q @ h, lambda x: x @ q, raw_r, raw_s, b)


def householder(
    x: Vector, vectors: Matrix, raw_r: Matrix, raw_s: Matrix, b: Vector
) -> tuple[Vector, LogDet]:
    """Sylvester flow with Q the product of reflections at the rows of vectors [k, d].

    raw_r and raw_s [d, d] give R and R'. The log-det is in nats.

    Raises:
        ValueError: if the shapes do not fit.
    """
    rotate = lambda h: reflect(h, vectors)
    return _sylvester(x, rotate, lambda x: reflect(x, vectors, reverse=True), raw_r, raw_s, b)


def triangular(x: Vector, raw_r: Matrix, raw_s: Matrix, b: Vector) -> tuple[Vector, LogDet]:
    """Sylvester flow with Q = I; raw_r and raw_s [d, d] give R and R'. The log-det is in nats.

    Raises:
        ValueError: if the shapes do not fit.
    """
    return _sylvester(x, lambda h: h, lambda x: x, raw_r, raw_s, b)


def _sylvester(
    x: Vector,
    rotate: Callable[[Vector], Vector],
    rotate_back: Callable[[Vector], Vector],
    raw_r: Matrix,
    raw_s: Matrix,
    b: Vector,
) -> tuple[Vector, LogDet]:
    rotated = rotate_back(x)
    check_shape("raw_r", raw_r, rotated.shape * 2)
    check_shape("raw_s", raw_s, rotated.shape * 2)
    check_shape("b", b, rotated.shape)
    r, s = _upper(raw_r), _upper(raw_s)
    h = jnp.tanh(s @ rotated + b)
    # The slopes 1 + (1 - h^2) r s as sums of positive numbers.
    slopes = h**2 + (1 - h**2) * (1 + jnp.diag(r) * jnp.diag(s))
    return x + rotate(r @ h), jnp.sum(jnp.log(slopes))


def _upper(raw: Matrix) -> Matrix:
    return jnp.triu(raw, 1) + jnp.diag((1 - 1e-4) * jnp.tanh(jnp.diag(raw)))


def _start(rngs: nnx.Rngs, size: int) -> Array:
    return 0.1 / math.sqrt(size) * jax.random.normal(rngs.params(), (size, size))


def _check_positive(**sizes: int) -> None:
    if min(sizes.values()) < 1:
        raise ValueError(f"sizes must be positive, got {sizes}.")


class OrthogonalSylvester(nnx.Module):
    """Sylvester flow with `num_columns` orthonormal directions; for posteriors, no inverse."""

    def __init__(self, dim: int, num_columns: int, *, rngs: nnx.Rngs):
        _check_positive(dim=dim, num_columns=num_columns)
        if num_columns > dim:
            raise ValueError(f"num_columns must be at most dim, got {num_columns} > {dim}.")
        self.raw_q = nnx.Param(jax.random.normal(rngs.params(), (dim, num_columns)))
        self.raw_r = nnx.Param(_start(rngs, num_columns))
        self.raw_s = nnx.Param(_start(rngs, num_columns))
        self.b = nnx.Param(jnp.zeros(num_columns))

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.raw_q.shape[:1]

    def forward_and_log_det(self, x: Vector, cond: PyTree = None) -> tuple[Vector, LogDet]:
        del cond
        check_event(self, x, self.raw_q.shape[:1])
        return orthogonal(x, self.raw_q[...], self.raw_r[...], self.raw_s[...], self.b[...])


class HouseholderSylvester(nnx.Module):
    """Sylvester flow in axes turned by `num_reflections` reflections; for posteriors."""

    def __init__(self, dim: int, num_reflections: int, *, rngs: nnx.Rngs):
        _check_positive(dim=dim, num_reflections=num_reflections)
        self.vectors = nnx.Param(jax.random.normal(rngs.params(), (num_reflections, dim)))
        self.raw_r = nnx.Param(_start(rngs, dim))
        self.raw_s = nnx.Param(_start(rngs, dim))
        self.b = nnx.Param(jnp.zeros(dim))

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.b.shape

    def forward_and_log_det(self, x: Vector, cond: PyTree = None) -> tuple[Vector, LogDet]:
        del cond
        check_event(self, x, self.b.shape)
        return householder(x, self.vectors[...], self.raw_r[...], self.raw_s[...], self.b[...])


class TriangularSylvester(nnx.Module):
    """Sylvester flow in the given axes; for posteriors, no inverse.

    The paper alternates Q between the identity and the reversal: put a `Reverse` in between.
    """

    def __init__(self, dim: int, *, rngs: nnx.Rngs):
        _check_positive(dim=dim)
        self.raw_r = nnx.Param(_start(rngs, dim))
        self.raw_s = nnx.Param(_start(rngs, dim))
        self.b = nnx.Param(jnp.zeros(dim))

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.b.shape

    def forward_and_log_det(self, x: Vector, cond: PyTree = None) -> tuple[Vector, LogDet]:
        del cond
        check_event(self, x, self.b.shape)
        return triangular(x, self.raw_r[...], self.raw_s[...], self.b[...])
