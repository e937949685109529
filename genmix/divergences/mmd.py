"""Maximum mean discrepancy between two samples."""

import operator
from collections.abc import Callable, Sequence
from functools import reduce

import jax.numpy as jnp
from jaxtyping import Array, Float

Kernel = Callable[[Float[Array, "n m"]], Float[Array, "n m"]]
"""Squared distances -> values of a kernel."""


def rbf(*bandwidths: float) -> Kernel:
    """Sum of Gaussian kernels exp(-r^2 / (2 bandwidth^2)), as a function of r^2.

    Raises:
        ValueError: if there is no bandwidth, or one is not positive.
    """
    _check("bandwidths", bandwidths)
    return lambda r2: reduce(operator.add, [jnp.exp(-r2 / (2 * b * b)) for b in bandwidths])


def imq(*constants: float) -> Kernel:
    """Sum of inverse multiquadratic kernels C / (C + r^2), as a function of r^2.

    Their tails are heavy, so that outliers still have a gradient.

    Raises:
        ValueError: if there is no constant, or one is not positive.
    Source: Tolstikhin et al. (2018), arXiv:1711.01558, section 4.
    """
    _check("constants", constants)
    return lambda r2: reduce(operator.add, [c / (c + r2) for c in constants])


def imq_for_unit_variance(dim: int) -> Kernel:
    """Inverse multiquadratics for events of `dim` entries of variance about 1, over seven scales.

    C = 2 dim s with s from 0.1 to 10; 2 dim is the expected r^2 of two such events.
    Source: the WAE-MMD of Tolstikhin et al. (2018), arXiv:1711.01558, and its authors' code.
    """
    return imq(*(2.0 * dim * s for s in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)))


def unbiased(
    x: Float[Array, "n ..."], y: Float[Array, "m ..."], kernel: Kernel
) -> Float[Array, ""]:
    """U-statistic of MMD^2 between the distributions of x and of y; below zero where it happens.

    Raises:
        ValueError: if there are fewer than two events, or events of x and y differ in shape.
    Source: Gretton et al. (2012), JMLR 13, equation 3.
    """
    n, m = len(x), len(y)
    if min(n, m) < 2:
        raise ValueError(f"the unbiased MMD needs two events of each kind, got {n} and {m}.")
    xx, yy, xy = _kernels(x, y, kernel)
    off_diagonal = lambda k: jnp.sum(jnp.where(jnp.eye(len(k), dtype=bool), 0.0, k))
    return off_diagonal(xx) / (n * (n - 1)) + off_diagonal(yy) / (m * (m - 1)) - 2 * jnp.mean(xy)


def biased(x: Float[Array, "n ..."], y: Float[Array, "m ..."], kernel: Kernel) -> Float[Array, ""]:
    """V-statistic of MMD^2: that between the two empirical distributions, never below zero.

    Raises:
        ValueError: if events of x and y differ in shape.
    Source: Gretton et al. (2012), JMLR 13, equation 5.
    """
    xx, yy, xy = _kernels(x, y, kernel)
    return jnp.mean(xx) + jnp.mean(yy) - 2 * jnp.mean(xy)


def _check(name: str, values: Sequence[float]) -> None:
    if not values or not min(values) > 0:
        raise ValueError(f"{name} must be positive numbers, at least one, got {values}.")


def _kernels(x: Array, y: Array, kernel: Kernel) -> tuple[Array, Array, Array]:
    if x.shape[1:] != y.shape[1:]:
        raise ValueError(
            f"events of x and y must have one shape, got {x.shape[1:]} and {y.shape[1:]}."
        )
    x, y = x.reshape(len(x), -1), y.reshape(len(y), -1)
    # Differences, not |a|^2 + |b|^2 - 2 a.b, which cancels far from the origin.
    between = lambda a, b: kernel(_squared_distances(a, b))
    return between(x, x), between(y, y), between(x, y)


def _squared_distances(a: Float[Array, "n d"], b: Float[Array, "m d"]) -> Float[Array, "n m"]:
    """Of all pairs; inf, with zero gradient, where that of two finite events overflows."""
    difference = a[:, None] - b[None]
    is_finite = lambda x: jnp.all(jnp.isfinite(x), axis=-1)
    is_far = jnp.sum(difference**2, axis=-1) == jnp.inf
    is_far &= is_finite(a)[:, None] & is_finite(b)[None]
    near = jnp.where(is_far[..., None], 0.0, difference)
    return jnp.where(is_far, jnp.inf, jnp.sum(near**2, axis=-1))
