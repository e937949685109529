"""Householder flow: reflections, whose products are all orthogonal maps."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PyTree

from genmix.bijectors.directions import LogDet

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

    def forward_and_log_det(self, x: Vector, cond: PyTree = None) -> tuple[Vector, LogDet]:
        del cond
        return reflect(x, self.vectors[...]), jnp.zeros((), x.dtype)

    def inverse_and_log_det(self, y: Vector, cond: PyTree = None) -> tuple[Vector, LogDet]:
        del cond
        return reflect(y, self.vectors[...], reverse=True), jnp.zeros((), y.dtype)
