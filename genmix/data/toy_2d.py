"""Points in the plane with shapes that are hard for a density: one draw each, for `jax.vmap`.

Source: the shapes are those of Grathwohl et al. (2019), arXiv:1810.01367, section 4.1, and of
Papamakarios et al. (2017), arXiv:1705.07057, figure 1.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

Point = Float[Array, "2"]
PRNGKey = Key[Array, ""]

ENTROPIES = {
    # Eight normals that hardly overlap: that of one, and ln 8 for which one.
    "eight_gaussians": 2.831,
    "checkerboard": math.log(32),
    "banana": math.log(2 * math.pi * math.e) + math.log(2),
}
"""Entropies in nats, where they are known: no density has a smaller NLL."""


def two_moons(key: PRNGKey) -> Point:
    """Two half circles of radius 2 that reach into each other, with noise of scale 0.2."""
    side_key, angle_key, noise_key = jax.random.split(key, 3)
    angle = jax.random.uniform(angle_key, maxval=math.pi)
    arc = 2 * jnp.stack([jnp.cos(angle) - 0.5, jnp.sin(angle) - 0.25])
    arc = jnp.where(jax.random.bernoulli(side_key), arc, -arc)
    return arc + 0.2 * jax.random.normal(noise_key, (2,))


def pinwheel(key: PRNGKey) -> Point:
    """Five normal blades, bent the more the further out they are."""
    blade_key, noise_key = jax.random.split(key)
    blade = jax.random.randint(blade_key, (), 0, 5)
    along, across = jax.random.normal(noise_key, (2,)) * jnp.array([0.3, 0.1]) + jnp.array([1, 0])
    angle = 2 * math.pi * blade / 5 + 0.25 * jnp.exp(along)
    return 2 * _rotated(jnp.stack([along, across]), angle)


def checkerboard(key: PRNGKey) -> Point:
    """Uniform on every other square of a board of 4 x 4 squares of side 2."""
    square_key, place_key = jax.random.split(key)
    row, half = jnp.divmod(jax.random.randint(square_key, (), 0, 8), 2)
    corner = jnp.stack([2 * half + row % 2, row]) - 2
    return 2 * (corner + jax.random.uniform(place_key, (2,)))


def eight_gaussians(key: PRNGKey) -> Point:
    """Eight normals of scale 0.5 / sqrt(2) on a circle of radius 4 / sqrt(2)."""
    which_key, noise_key = jax.random.split(key)
    angle = math.pi / 4 * jax.random.randint(which_key, (), 0, 8)
    centre = 4 * jnp.stack([jnp.cos(angle), jnp.sin(angle)])
    return (centre + 0.5 * jax.random.normal(noise_key, (2,))) / math.sqrt(2)


def two_spirals(key: PRNGKey) -> Point:
    """Two arms of one and a half turns, with noise of scale 0.1."""
    arm_key, angle_key, noise_key = jax.random.split(key, 3)
    angle = 3 * math.pi * jnp.sqrt(jax.random.uniform(angle_key))
    arm = angle / 3 * jnp.stack([-jnp.cos(angle), jnp.sin(angle)])
    arm = jnp.where(jax.random.bernoulli(arm_key), arm, -arm)
    return arm + 0.1 * jax.random.normal(noise_key, (2,))


def swiss_roll(key: PRNGKey) -> Point:
    """A spiral of one and a half turns, from a radius of a third of the last, with noise of 0.1.

    Source: Sohl-Dickstein et al. (2015), arXiv:1503.03585, section 3.1.1, for the shape.
    """
    angle_key, noise_key = jax.random.split(key)
    angle = 1.5 * math.pi * (1 + 2 * jax.random.uniform(angle_key))
    roll = angle / (1.5 * math.pi) * jnp.stack([jnp.cos(angle), jnp.sin(angle)])
    return roll + 0.1 * jax.random.normal(noise_key, (2,))


def rings(key: PRNGKey) -> Point:
    """Circles of radius 1, 2 and 3 in equal shares, with noise of scale 0.1."""
    ring_key, angle_key, noise_key = jax.random.split(key, 3)
    radius = jax.random.randint(ring_key, (), 1, 4)
    angle = jax.random.uniform(angle_key, maxval=2 * math.pi)
    circle = radius * jnp.stack([jnp.cos(angle), jnp.sin(angle)])
    return circle + 0.1 * jax.random.normal(noise_key, (2,))


def banana(key: PRNGKey) -> Point:
    """x2 ~ N(0, 4), x1 ~ N(x2^2 / 4, 1): easy in the order x2, x1 and hard in the other."""
    x1, x2 = jax.random.normal(key, (2,))
    return jnp.stack([x1 + x2**2, 2 * x2])


def _rotated(x: Point, angle: Float[Array, ""]) -> Point:
    c, s = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([c * x[0] - s * x[1], s * x[0] + c * x[1]])
