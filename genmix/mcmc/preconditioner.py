"""A linear map L from standard noise to positions, L L^T the covariance it gives.

L is a number, the diagonal [d], or a lower-triangular matrix [d, d], for the d numbers of a
position in the order of `jax.flatten_util.ravel_pytree`.
"""

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Float, PyTree

from genmix.mcmc.target import require_positive


def factor(name: str, covariance: Float[ArrayLike, "..."] | None) -> Array:
    """L for a covariance: variances [d], a matrix [d, d], or None for the identity.

    Raises:
        ValueError: if it has another shape, or is known and not positive definite.
    """
    if covariance is None:
        return jnp.ones(())
    covariance = jnp.asarray(covariance)
    if covariance.ndim == 1:
        require_positive(name, covariance)
        return jnp.sqrt(covariance)
    if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1]:
        raise ValueError(f"{name} must have shape [d] or [d, d], got {list(covariance.shape)}.")
    tril = jnp.linalg.cholesky(covariance)
    if not isinstance(tril, Tracer) and not bool(jnp.all(jnp.isfinite(tril))):
        raise ValueError(f"{name} must be positive definite; its Cholesky factor is not finite.")
    return tril


def apply(tril: Array, x: PyTree) -> PyTree:
    """L x.

    Raises:
        ValueError: if L is not for as many numbers as x has.
    """
    return _apply(tril, tril, x)


def apply_transpose(tril: Array, x: PyTree) -> PyTree:
    """L^T x.

    Raises:
        ValueError: if L is not for as many numbers as x has.
    """
    return _apply(tril, tril.T, x)


def _apply(tril: Array, matrix: Array, x: PyTree) -> PyTree:
    if tril.ndim == 0:
        return jax.tree.map(lambda a: tril.astype(a.dtype) * a, x)
    flat, unravel = ravel_pytree(x)
    if tril.shape[0] != flat.size:
        raise ValueError(
            f"the covariance is for {tril.shape[0]} numbers, but the position has {flat.size}."
        )
    if tril.ndim == 1:
        return unravel(tril.astype(flat.dtype) * flat)
    matrix = matrix.astype(flat.dtype)
    return unravel(jnp.matmul(matrix, flat, precision=jax.lax.Precision.HIGHEST))
