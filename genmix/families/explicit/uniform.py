"""The uniform distribution on a cube as a part."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

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

    def log_prob(self, x: Vector, cond: Any = None) -> Float[Array, ""]:
        del cond
        if x.shape != (self.dim,):
            raise ValueError(f"Uniform expects one event of shape {(self.dim,)}, got {x.shape}.")
        return jnp.sum(uniform.log_prob(x, self.low, self.high))

    def sample(self, key: Key[Array, ""], cond: Any = None) -> Vector:
        del cond
        return uniform.sample(key, jnp.full(self.dim, self.low), jnp.full(self.dim, self.high))
