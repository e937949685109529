"""Rezende & Mohamed's energies U1 to U4, with walls, and their integrals by sums over a grid."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

WALL = 0.1
"""Scale of the walls that make U2 to U4 proper: half a normal density beyond |z1| = 4."""
LOG_Z = {"U1": 1.8775, "U2": 2.0821, "U3": 2.6417, "U4": 2.7107}
"""Log of the integral of exp(-U), in nats; of U2 to U4 over |z1| <= 4, without the walls."""


def u1(z):
    square = jnp.sum(z**2)
    radius = jnp.sqrt(jnp.where(square > 0, square, 1e-12))
    sides = jnp.logaddexp(-0.5 * ((z[0] - 2) / 0.6) ** 2, -0.5 * ((z[0] + 2) / 0.6) ** 2)
    return 0.5 * ((radius - 2) / 0.4) ** 2 - sides


def u2(z):
    return 0.5 * ((z[1] - _wave(z)) / 0.4) ** 2


def u3(z):
    lower = _wave(z) - 3 * jnp.exp(-0.5 * ((z[0] - 1) / 0.6) ** 2)
    return _two_ridges(z, _wave(z), lower, 0.35)


def u4(z):
    lower = _wave(z) - 3 * jax.nn.sigmoid((z[0] - 1) / 0.3)
    return _two_ridges(z, _wave(z), lower, 0.4)


def _wave(z):
    return jnp.sin(math.pi / 2 * z[0])


def _two_ridges(z, first, second, scale):
    return -jnp.logaddexp(
        -0.5 * ((z[1] - first) / scale) ** 2, -0.5 * ((z[1] - second) / 0.35) ** 2
    )


ENERGIES: dict[str, Callable[[jax.Array], jax.Array]] = {"U1": u1, "U2": u2, "U3": u3, "U4": u4}
"""Source: Rezende & Mohamed (2015), arXiv:1505.05770, table 1."""


def walled(name: str) -> Callable[[jax.Array], jax.Array]:
    """An energy with a finite integral over the plane."""
    beyond = lambda z: jax.nn.relu(jnp.abs(z[0]) - 4)
    wall = lambda z: 0.0 if name == "U1" else 0.5 * (beyond(z) / WALL) ** 2
    return lambda z: ENERGIES[name](z) + wall(z)


def grid(low: float, high: float, size: int) -> jax.Array:
    """Centres of the cells of a square, [size * size, 2]; the first coordinate varies fastest."""
    centres = low + (high - low) * (jnp.arange(size) + 0.5) / size
    x, y = jnp.meshgrid(centres, centres)
    return jnp.stack([x.reshape(-1), y.reshape(-1)], axis=1)


def log_z_of_walled(name: str) -> float:
    """By the sum over a fine grid."""
    size, low, high = 1600, -8.0, 8.0
    log_p = -jax.lax.map(walled(name), grid(low, high, size), batch_size=2**16)
    return float(jax.nn.logsumexp(log_p)) + 2 * math.log((high - low) / size)
