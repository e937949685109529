"""An image as its coarsest version and the details of each finer one, drawn one after the other."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.capabilities import Samples
from genmix.nets import resampling

Image = Float[Array, "_ _ _"]  # height, width, channels


class Resampling(NamedTuple):
    """How an image is halved, and brought back to a height and width."""

    down: Callable[[Image], Image]
    up: Callable[[Image, Sequence[int]], Image]


def _interpolated(x: Image) -> Image:
    height, width, channels = x.shape
    return jax.image.resize(x, (-(-height // 2), -(-width // 2), channels), "linear")


def _resized(x: Image, size: Sequence[int]) -> Image:
    return jax.image.resize(x, (*size, x.shape[-1]), "linear")


BOX = Resampling(resampling.halved, resampling.doubled)
"""Means of 2x2 pixels, each of which is repeated."""
LINEAR = Resampling(_interpolated, _resized)
"""Linear interpolation, with a triangle as wide as two pixels on the way down."""


class Level(NamedTuple):
    """A finer image is coarse + detail."""

    detail: Image
    coarse: Image  # the next coarser image, brought to this size


def decompose(x: Image, num_levels: int, by: Resampling = BOX) -> tuple[Image, list[Level]]:
    """The coarsest image and the levels above it, from the coarsest on.

    Whatever the pair of down and up, `reconstruct` gives x again. Sides of any length: odd ones are
    rounded up when halved.

    Source: Burt & Adelson (1983), IEEE Transactions on Communications 31(4).
    """
    levels = []
    for _ in range(num_levels):
        below = by.down(x)
        coarse = by.up(below, x.shape[:2])
        levels.append(Level(x - coarse, coarse))
        x = below
    return x, levels[::-1]


def reconstruct(coarsest: Image, details: Sequence[Image], by: Resampling = BOX) -> Image:
    """The image of details from the coarsest on; where they are zero it is brought up alone."""
    for detail in details:
        coarsest = by.up(coarsest, detail.shape[:2]) + detail
    return coarsest


class LaplacianPyramid(nnx.Module):
    """x = up(coarser x) + detail, from the coarsest image on: LAPGAN's chain of generators.

    The detail of each level is drawn given the coarser image, brought up to its size; in training
    that image is a real one, so the levels learn apart from each other. Parts of any kind: the
    coarsest may have a density, and be trained by it.

    Args:
        coarsest: what samples the coarsest image.
        details: what samples the detail of each level given the coarse image, from the coarsest
            level on; such as `Implicit` of noise, whose network takes the pair (noise, coarse).
        sizes: height and width of each level's images, in that order.

    Raises:
        TypeError: if a part does not sample.
        ValueError: if there are not as many sizes as details.

    Source: Denton, Chintala, Szlam & Fergus (2015), arXiv:1506.05751.
    """

    def __init__(
        self,
        coarsest: Any,
        details: Sequence[Any],
        sizes: Sequence[Sequence[int]],
        *,
        by: Resampling = BOX,
    ):
        for part in (coarsest, *details):
            if not isinstance(part, Samples):
                raise TypeError(
                    f"{type(part).__name__} cannot be a level of LaplacianPyramid: it has no "
                    "sample."
                )
        if len(details) != len(sizes):
            raise ValueError(
                f"LaplacianPyramid needs a size for each detail, got {len(details)} details and "
                f"sizes {tuple(sizes)}."
            )
        self.coarsest: Any = coarsest
        self.details = nnx.List(details)
        self.sizes = tuple(sizes)
        self.resampling = by

    def decompose(self, x: Image) -> tuple[Image, list[Level]]:
        """The coarsest version of an image, and its levels from there on."""
        return decompose(x, len(self.details), self.resampling)

    def chain(self, key: Key[Array, ""]) -> list[Image]:
        """The coarsest image, and that after each level."""
        keys = jax.random.split(key, len(self.details) + 1)
        images = [self.coarsest.sample(keys[0])]
        for key, part, size in zip(keys[1:], self.details, self.sizes, strict=True):
            coarse = self.resampling.up(images[-1], size)
            images.append(coarse + part.sample(key, coarse))
        return images

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Image:
        """Draw an image."""
        del cond
        return self.chain(key)[-1]
