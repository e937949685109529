"""Householder flow: reflections, whose products are all orthogonal maps."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PyTree

from genmix.bijectors.directions import LogDet, check_event

Vector = Float[Array, " _"]
Vectors = Float[Array, "_ _"]


def reflect(x: Vector, vectors: Vectors, *, reverse: bool = False) -> Vector:
    """x reflected at the planes normal to each row of vectors [k, d], first row first.

    `reverse` starts with the last row, which is the inverse. A row of zeros reflects nothing.

    Raises:
        ValueError: if the rows are not as long as x.

    Source: Tomczak & Welling (2016), arXiv:1611.09630, equation 9.
    """
    if vectors.shape[1:] != x.shape:
        raise ValueError(f"vectors must have shape [k, {x.size}], got {vectors.shape}.")
    dtype = jnp.result_type(x, vectors)
    x, vectors = x.astype(dtype), vectors.astype(dtype)
    # A reflection is the same for any multiple of its vector; squares of entries up to 1 are safe.
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(vectors), axis=1, keepdims=True))
    vectors = vectors / jnp.where(largest > 0, largest, 1)
    squares = jnp.sum(vectors**2, axis=1)
    factors = jnp.where(squares > 0, 2 / jnp.where(squares > 0, squares, 1), 0)

    def step(x: Array, reflection: tuple[Array, Array]) -> tuple[Array, None]:
        v, factor = reflection
        return x - factor * jnp.dot(v, x) * v, None

    return jax.lax.scan(step, x, (vectors, factors), reverse=reverse)[0]


class Householder(nnx.Module):
    """A product of reflections of vectors of `dim` entries; it preserves volume.

    dim - 1 of them reach every rotation of the axes, up to signs, so that a normal posterior with
    independent entries becomes one with any covariance.
    """

    def __init__(self, dim: int, num_reflections: int, *, rngs: nnx.Rngs):
        if dim < 1 or num_reflections < 1:
            raise ValueError(
                f"dim and num_reflections must be positive, got {dim} and {num_reflections}."
            )
        self.vectors = nnx.Param(jax.random.normal(rngs.params(), (num_reflections, dim)))

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.vectors.shape[1:]

    def forward_and_log_det(self, x: Vector, cond: PyTree = None) -> tuple[Vector, LogDet]:
        del cond
        return self._reflect(x, reverse=False)

    def inverse_and_log_det(self, y: Vector, cond: PyTree = None) -> tuple[Vector, LogDet]:
        del cond
        return self._reflect(y, reverse=True)

    def _reflect(self, event: Vector, *, reverse: bool) -> tuple[Vector, LogDet]:
        check_event(self, event, self.vectors.shape[1:])
        out = reflect(event, self.vectors[...], reverse=reverse)
        return out, jnp.zeros((), out.dtype)
