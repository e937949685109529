"""Small white shapes on black, of five known factors, rendered: after dSprites, without its file.

Factors are independent: shape (square, ellipse, heart), scale, orientation, x and y. The images are
rendered anew, with smooth edges; they are not those of the published archive.

Source: Matthey et al. (2017), dSprites, github.com/deepmind/dsprites-dataset.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

NAMES = ("shape", "scale", "orientation", "x", "y")
SIZES = (3, 6, 40, 32, 32)
"""How many values each factor has, as in dSprites."""


class Sprites(NamedTuple):
    """Images in [0, 1], float32 [n, side, side, 1], and the indices of their factors [n, 5]."""

    images: np.ndarray
    factors: np.ndarray


def render(
    factors: Int[np.ndarray, "..."], *, side: int = 64
) -> Float[np.ndarray, "n side side 1"]:
    """Images of the shapes of given factors.

    The scale runs from 0.5 to 1, orientations once around, places over the square in which the
    whole shape is seen. A pixel's value is the share of it that is covered, about.

    Raises:
        ValueError: if factors are not [n, 5], or one is not in 0 .. its number of values - 1.
    """
    factors = np.asarray(factors)
    if factors.ndim != 2 or factors.shape[1] != 5:
        raise ValueError(f"factors must be [n, 5], got shape {factors.shape}.")
    if factors.dtype.kind not in "iu":
        raise ValueError(f"factors must be indices, whole numbers, got dtype {factors.dtype}.")
    if np.any(factors < 0) or np.any(factors >= SIZES):
        raise ValueError(f"factors must be indices below {SIZES}, got {factors.max(axis=0)}.")
    shape, *rest = factors.T
    scale, angle, x, y = (i / (n - 1) for i, n in zip(rest, SIZES[1:], strict=True))
    radius = 0.18 * (0.5 + 0.5 * scale)[:, None, None]  # of the circle around the shape
    angle = 2 * np.pi * rest[1] / SIZES[2]
    centre = 0.18 + 0.64 * np.stack([x, y])
    pixel = (np.arange(side) + 0.5) / side
    u = (pixel[None, None, :] - centre[0][:, None, None]) / radius
    v = (pixel[None, :, None] - centre[1][:, None, None]) / radius
    c, s = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    u, v = c * u + s * v, c * v - s * u
    inside = np.select([shape[:, None, None] == i for i in range(3)], _distances(u, v))
    # Distances are in radii: one pixel of blur.
    images = np.clip(0.5 + inside * radius * side, 0, 1)
    return images[..., None].astype(np.float32)


def _distances(u: np.ndarray, v: np.ndarray) -> list[np.ndarray]:
    """About how far inside the boundary of each shape a point is, in its own coordinates."""
    square = np.sqrt(0.5) - np.maximum(np.abs(u), np.abs(v))
    ellipse = 0.5 * (1 - np.hypot(u, 2 * v))
    # A heart's curve: a^2 + b^2 - 1 = (a^2 b^3)^(1/3), of slope about 2 where it is zero.
    a, b = 1.25 * u, 0.1 - 1.25 * v
    heart = (np.cbrt(a**2 * b**3) - (a**2 + b**2 - 1)) / 2.5
    return [square, ellipse, heart]


def draw(num_images: int, *, side: int = 64, seed: int = 0) -> Sprites:
    """Images of independent, evenly drawn factors."""
    rng = np.random.default_rng(seed)
    factors = np.stack([rng.integers(n, size=num_images) for n in SIZES], axis=1)
    parts = [render(part, side=side) for part in np.array_split(factors, num_images // 1000 + 1)]
    return Sprites(np.concatenate(parts), factors)
