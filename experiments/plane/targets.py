"""Log-densities in the plane that chains are tried on."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp


def normal(x):
    """Correlation 0.9."""
    return -0.5 * (x[0] ** 2 + x[1] ** 2 - 1.8 * x[0] * x[1]) / 0.19


def banana(x):
    """x2 ~ N(0, 4), x1 ~ N(x2^2 / 4, 1)."""
    return -0.5 * ((x[0] - x[1] ** 2 / 4) ** 2 + x[1] ** 2 / 4)


def ring(x):
    """Rezende & Mohamed's first test density."""
    radius = jnp.sqrt(jnp.sum(x**2) + 1e-12)
    sides = jnp.logaddexp(-0.5 * ((x[0] - 2) / 0.6) ** 2, -0.5 * ((x[0] + 2) / 0.6) ** 2)
    return sides - 0.5 * ((radius - 2) / 0.4) ** 2


def modes(x):
    """Two normals, 6 apart: chains that start in one seldom find the other."""
    left, right = jnp.sum((x + 3 / math.sqrt(2)) ** 2), jnp.sum((x - 3 / math.sqrt(2)) ** 2)
    return jnp.logaddexp(-0.5 * left, -0.5 * right)


TARGETS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "normal": normal,
    "banana": banana,
    "ring": ring,
    "modes": modes,
}
MEANS = {"normal": (0.0, 0.0), "banana": (1.0, 0.0), "ring": (0.0, 0.0), "modes": (0.0, 0.0)}
LOG_Z_RING = 1.8775
"""By quadrature."""
