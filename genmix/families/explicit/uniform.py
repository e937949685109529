"""Uniform distributions as parts: on a cube, and of codes."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key, PyTree

from genmix.densities import uniform

Vector = Float[Array, " dim"]


class Uniform(nnx.Module):
    """Independent entries between two numbers, without a condition.

    Raises:
        ValueError: if dim < 1, or low is not below high.
    """

    def __init__(self, dim: int, *, low: float = -1.0, high: float = 1.0):
        if dim < 1 or not low < high:
            raise ValueError(f"Uniform needs dim >= 1 and low < high, got {dim}, {low}, {high}.")
        self.dim, self.low, self.high = dim, low, high

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.dim,)

    def log_prob(self, x: Vector, cond: PyTree = None) -> Float[Array, ""]:
        del cond
        if x.shape != (self.dim,):
            raise ValueError(f"Uniform expects one event of shape {(self.dim,)}, got {x.shape}.")
        return jnp.sum(uniform.log_prob(x, self.low, self.high))

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Vector:
        del cond
        return uniform.sample(key, jnp.full(self.dim, self.low), jnp.full(self.dim, self.high))


class UniformCodes(nnx.Module):
    """Independent integers 0 .. num_codes - 1, all as likely, without a condition.

    Args:
        shape: of the event.

    Raises:
        ValueError: if num_codes < 1, or a side of the shape is not positive.
    """

    def __init__(self, shape: Sequence[int], num_codes: int):
        if num_codes < 1 or min(shape, default=1) < 1:
            raise ValueError(
                f"UniformCodes needs num_codes >= 1 and positive sides, got {num_codes} and shape "
                f"{tuple(shape)}."
            )
        self.shape, self.num_codes = tuple(shape), num_codes

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.shape

    def log_prob(self, x: Int[Array, "..."], cond: PyTree = None) -> Float[Array, ""]:
        del cond
        if x.shape != self.shape:
            raise ValueError(
                f"UniformCodes expects one event of shape {self.shape}, got {x.shape}."
            )
        is_code = jnp.all((x >= 0) & (x < self.num_codes))
        return jnp.where(is_code, -math.prod(self.shape) * math.log(self.num_codes), -jnp.inf)

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Int[Array, "..."]:
        del cond
        return jax.random.randint(key, self.shape, 0, self.num_codes)
