"""What the levels of a Laplacian pyramid learn: their details, given a real coarser image.

The coarsest part is trained as any other is, on coarsest images: `.on(coarsest_images(2))`.
"""

from collections.abc import Callable

import jax
from jaxtyping import Array, Key, PyTree

from genmix.families.implicit.laplacian_pyramid import (
    BOX,
    LaplacianPyramid,
    Resampling,
    decompose,
)
from genmix.objectives.comparison import Comparison


def detail(level: int) -> Comparison:
    """Pairs (detail, coarse image) of data with those of the level's part; 0 is the coarsest.

    The term is about the `LaplacianPyramid`, and the player owns "generator.details.LEVEL".
    """

    def draw(part: LaplacianPyramid, key: Key[Array, ""], x: Array) -> tuple[PyTree, PyTree]:
        real = part.decompose(x)[1][level]
        return tuple(real), (part.details[level].sample(key, real.coarse), real.coarse)

    return Comparison(f"detail{level}", draw, given=True)


def coarsest_images(num_levels: int, by: Resampling = BOX) -> Callable[[Array], Array]:
    """A batch of images -> their coarsest versions, for `Term.on`."""
    return jax.vmap(lambda x: decompose(x, num_levels, by)[0])
