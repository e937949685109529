"""Invertible 1x1 convolution by its LU decomposition."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.scipy.linalg import lu, solve_triangular
from jaxtyping import Array, Float, PyTree

from genmix.bijectors.directions import Event, LogDet

Matrix = Float[Array, "channels channels"]


class InvertibleConvolution(nnx.Module):
    """y = W x for the channels on the last axis, the same W at every position of an image.

    W = P L (U + diag(s)) with the permutation P and the signs of s fixed; it starts as a random
    rotation. Its log-det counts every position. The matrix is put together once for all events of
    a `jax.vmap`.

    Source: Kingma & Dhariwal (2018), arXiv:1807.03039, section 3.2.
    """

    def __init__(self, num_channels: int, *, rngs: nnx.Rngs):
        if num_channels < 1:
            raise ValueError(f"num_channels must be positive, got {num_channels}.")
        self.num_channels = num_channels
        noise = jax.random.normal(rngs.params(), (num_channels, num_channels))
        permutation, lower, upper = lu(jnp.linalg.qr(noise)[0])
        diagonal = jnp.diag(upper)
        self.permutation = nnx.Variable(permutation)
        self.sign = nnx.Variable(jnp.sign(diagonal))
        self.lower = nnx.Param(jnp.tril(lower, -1))
        self.upper = nnx.Param(jnp.triu(upper, 1))
        self.log_diagonal = nnx.Param(jnp.log(jnp.abs(diagonal)))

    @property
    def matrix(self) -> Matrix:
        """W."""
        lower, upper = self._factors()
        return _matmul(_matmul(self.permutation[...], lower), upper)

    @property
    def inverse_matrix(self) -> Matrix:
        """The inverse of W, by two triangular systems."""
        lower, upper = self._factors()
        z = solve_triangular(lower, self.permutation[...].T, lower=True, unit_diagonal=True)
        return solve_triangular(upper, z)

    @property
    def event_shape(self) -> None:
        return None

    def forward_and_log_det(self, x: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        del cond
        self._check("x", x)
        return _matmul(x, self.matrix.T), self._log_det(x)

    def inverse_and_log_det(self, y: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        del cond
        self._check("y", y)
        return _matmul(y, self.inverse_matrix.T), -self._log_det(y)

    def _factors(self) -> tuple[Matrix, Matrix]:
        lower = jnp.tril(self.lower[...], -1) + jnp.eye(self.num_channels, dtype=self.lower.dtype)
        diagonal = self.sign[...] * jnp.exp(self.log_diagonal[...])
        return lower, jnp.triu(self.upper[...], 1) + jnp.diag(diagonal)

    def _log_det(self, event: Event) -> LogDet:
        return math.prod(event.shape[:-1]) * jnp.sum(self.log_diagonal[...])

    def _check(self, name: str, event: Event) -> None:
        if not event.ndim or event.shape[-1] != self.num_channels:
            raise ValueError(
                f"InvertibleConvolution of {self.num_channels} channels needs as many on the last "
                f"axis of {name}, got shape {event.shape}."
            )


def _matmul(a: Event, b: Matrix) -> Event:
    # Accelerators multiply float32 matrices in fewer bits unless told not to.
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
