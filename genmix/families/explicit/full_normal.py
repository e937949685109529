"""Normal distribution with a full covariance, its parameters a network's output."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.densities import multivariate_normal

Vector = Float[Array, " dim"]


class FullNormal(nnx.Module):
    """p(x | c) = N(loc(c), L(c) L(c)^T) with L lower triangular.

    Args:
        network: condition -> vector of dim + dim (dim + 1) / 2 entries: loc, then L row by row.
        min_scale: smallest diagonal entry of L; it is min_scale + softplus(raw).
    """

    def __init__(self, network: Callable[[Any], Array], *, min_scale: float = 1e-4):
        if min_scale <= 0:
            raise ValueError(f"min_scale must be positive, got {min_scale}.")
        self.network = network
        self.min_scale = min_scale

    @staticmethod
    def num_parameters(dim: int) -> int:
        """How many outputs the network must have for events of `dim` entries."""
        return dim + dim * (dim + 1) // 2

    def loc_and_scale_tril(self, cond: PyTree = None) -> tuple[Vector, Float[Array, "dim dim"]]:
        """Mean and Cholesky factor of the covariance given the condition."""
        raw = self.network(cond)
        dim = (math.isqrt(9 + 8 * raw.size) - 3) // 2
        if raw.ndim != 1 or self.num_parameters(dim) != raw.size:
            raise ValueError(
                "FullNormal needs a network with dim + dim (dim + 1) / 2 outputs in one vector, "
                f"got shape {raw.shape}; FullNormal.num_parameters(dim) tells how many."
            )
        tril = jnp.zeros((dim, dim), raw.dtype).at[jnp.tril_indices(dim)].set(raw[dim:])
        diagonal = self.min_scale + jax.nn.softplus(jnp.diag(tril))
        return raw[:dim], jnp.tril(tril, -1) + jnp.diag(diagonal)

    def log_prob(self, x: Vector, cond: PyTree = None) -> Float[Array, ""]:
        return multivariate_normal.log_prob(x, *self.loc_and_scale_tril(cond))

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Vector:
        return multivariate_normal.sample(key, *self.loc_and_scale_tril(cond))

    def sample_and_log_prob(
        self, key: Key[Array, ""], cond: PyTree = None
    ) -> tuple[Vector, Float[Array, ""]]:
        loc, scale_tril = self.loc_and_scale_tril(cond)
        x = multivariate_normal.sample(key, loc, scale_tril)
        return x, multivariate_normal.log_prob(x, loc, scale_tril)

    def mean(self, cond: PyTree = None) -> Vector:
        return self.loc_and_scale_tril(cond)[0]
