"""Sliced Wasserstein distance between two samples."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key


def squared(
    key: Key[Array, ""],
    x: Float[Array, "n ..."],
    y: Float[Array, "m ..."],
    *,
    num_projections: int,
) -> Float[Array, ""]:
    """Mean over random directions of W_2^2 between the projections of x and of y.

    For distributions that differ by a shift s it is |s|^2 / dim in expectation, and for finite
    samples more. All events are flattened.

    Raises:
        ValueError: if x and y differ in shape, or num_projections < 1.
    Source: Bonneel et al. (2015), J. Math. Imaging Vis. 51; Kolouri et al. (2019),
        arXiv:1804.01947, equation 12.
    """
    if x.shape != y.shape:
        raise ValueError(f"x and y must have one shape, got {x.shape} and {y.shape}.")
    if num_projections < 1:
        raise ValueError(f"num_projections must be at least 1, got {num_projections}.")
    x, y = x.reshape(len(x), -1), y.reshape(len(y), -1)
    directions = jax.random.normal(key, (x.shape[1], num_projections), x.dtype)
    directions = directions / jnp.linalg.norm(directions, axis=0, keepdims=True)
    # In one dimension the best coupling matches the sorted values.
    gaps = jnp.sort(x @ directions, axis=0) - jnp.sort(y @ directions, axis=0)
    return jnp.mean(gaps**2)
