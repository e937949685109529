"""An image at half the size, and back: means of 2x2 pixels, and pixels repeated."""

from collections.abc import Sequence

import jax.numpy as jnp

from genmix.nets.pixels import Image


def halved(x: Image) -> Image:
    """Means of 2x2 pixels; where a side is odd, its last row or column counts twice."""
    height, width, _ = x.shape
    x = jnp.pad(x, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2, -1).mean(axis=(1, 3))


def doubled(x: Image, size: Sequence[int]) -> Image:
    """Each pixel four times, cut to a height and width."""
    return jnp.repeat(jnp.repeat(x, 2, axis=0), 2, axis=1)[: size[0], : size[1]]


def sizes(shape: Sequence[int], num_levels: int) -> list[tuple[int, int]]:
    """Height and width of an image's levels, from the coarsest to its own; odd ones round up."""
    found = [(shape[0], shape[1])]
    for _ in range(num_levels - 1):
        height, width = found[-1]
        found.append((-(-height // 2), -(-width // 2)))
    return found[::-1]
