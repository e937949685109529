"""Affine maps: elementwise, and by a lower triangular matrix."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, PyTree

from genmix.bijectors.directions import Event, LogDet, check_event
from genmix.densities.multivariate_normal import check_shape

Vector = Float[Array, " _"]
Matrix = Float[Array, "_ _"]


def forward_and_log_det(x: Event, loc: Event, scale: Event) -> tuple[Event, LogDet]:
    """y = loc + scale x, entry by entry, with its log-det in nats; NaN log-det where scale <= 0.

    Raises:
        ValueError: if the shapes differ.
    """
    check_shape("loc", loc, x.shape)
    check_shape("scale", scale, x.shape)
    return loc + scale * x, _log_det(scale)


def inverse_and_log_det(y: Event, loc: Event, scale: Event) -> tuple[Event, LogDet]:
    """x = (y - loc) / scale, entry by entry, with its log-det in nats.

    Raises:
        ValueError: if the shapes differ.
    """
    check_shape("loc", loc, y.shape)
    check_shape("scale", scale, y.shape)
    return (y - loc) / scale, -_log_det(scale)


def triangular_forward_and_log_det(
    x: Vector, loc: Vector, scale_tril: Matrix
) -> tuple[Vector, LogDet]:
    """y = loc + L x with L = tril(scale_tril) [d, d], with its log-det in nats.

    NaN log-det where an entry of L's diagonal is <= 0.

    Raises:
        ValueError: if the shapes do not fit.
    """
    check_shape("loc", loc, x.shape)
    check_shape("scale_tril", scale_tril, x.shape * 2)
    # Accelerators multiply float32 matrices in fewer bits unless told not to.
    y = loc + jnp.matmul(jnp.tril(scale_tril), x, precision=jax.lax.Precision.HIGHEST)
    return y, _log_det(jnp.diag(scale_tril))


def triangular_inverse_and_log_det(
    y: Vector, loc: Vector, scale_tril: Matrix
) -> tuple[Vector, LogDet]:
    """x = L^-1 (y - loc) with L = tril(scale_tril) [d, d], with its log-det in nats.

    Raises:
        ValueError: if the shapes do not fit.
    """
    check_shape("loc", loc, y.shape)
    check_shape("scale_tril", scale_tril, y.shape * 2)
    return solve_triangular(scale_tril, y - loc, lower=True), -_log_det(jnp.diag(scale_tril))


def _log_det(scale: Array) -> Array:
    return jnp.sum(jnp.log(jnp.where(scale > 0, scale, jnp.nan)))


class Affine(nnx.Module):
    """y = loc + exp(log_scale) x, entry by entry; starts as the identity."""

    def __init__(self, shape: int | Sequence[int]):
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        if min(shape, default=1) < 1:
            raise ValueError(f"shape must be positive, got {shape}.")
        self.loc = nnx.Param(jnp.zeros(shape))
        self.log_scale = nnx.Param(jnp.zeros(shape))

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.loc.shape

    def forward_and_log_det(self, x: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        del cond
        check_event(self, x, self.loc.shape)
        return forward_and_log_det(x, self.loc[...], jnp.exp(self.log_scale[...]))

    def inverse_and_log_det(self, y: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        del cond
        check_event(self, y, self.loc.shape)
        return inverse_and_log_det(y, self.loc[...], jnp.exp(self.log_scale[...]))


class TriangularAffine(nnx.Module):
    """y = loc + L x on vectors, L lower triangular; starts as the identity.

    Below its diagonal L holds the entries of `raw`, on it their exponentials.
    """

    def __init__(self, dim: int):
        if dim < 1:
            raise ValueError(f"dim must be positive, got {dim}.")
        self.loc = nnx.Param(jnp.zeros(dim))
        self.raw = nnx.Param(jnp.zeros((dim, dim)))

    @property
    def scale_tril(self) -> Float[Array, "dim dim"]:
        """The matrix L."""
        raw = self.raw[...]
        return jnp.tril(raw, -1) + jnp.diag(jnp.exp(jnp.diag(raw)))

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.loc.shape

    def forward_and_log_det(self, x: Vector, cond: PyTree = None) -> tuple[Vector, LogDet]:
        del cond
        check_event(self, x, self.loc.shape)
        return triangular_forward_and_log_det(x, self.loc[...], self.scale_tril)

    def inverse_and_log_det(self, y: Vector, cond: PyTree = None) -> tuple[Vector, LogDet]:
        del cond
        check_event(self, y, self.loc.shape)
        return triangular_inverse_and_log_det(y, self.loc[...], self.scale_tril)
