"""Pictures of a latent space, by what a decoder makes of points in it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from genmix.evaluation import pictures

Decode = Callable[[Array], Array]
"""Latents [n, dim] -> images in [0, 1], [n, height, width, channels]."""


def grid(
    decode: Callable[[PyTree, PyTree], Array], rows: PyTree, columns: PyTree
) -> Float[Array, "rows columns ..."]:
    """An image for each pair of a row's and a column's part of z, such as its style and its class.

    Args:
        decode: (a row's part, a column's part) -> image.
        rows: arrays whose first axis goes over the rows; likewise `columns`.
    """
    over_columns = jax.vmap(decode, in_axes=(None, 0))
    return jax.jit(jax.vmap(over_columns, in_axes=(0, None)))(rows, columns)


def save_interpolations(
    path: str | Path,
    decode: Decode,
    x: Float[ArrayLike, "n height width channels"],
    z: Float[Array, "n dim"],
    *,
    num_pairs: int = 10,
    num_between: int = 9,
) -> None:
    """A row for each pair of images: the first, means along the line between their z, the last.

    One image has no pair, and nothing is drawn of it.
    """
    x = jnp.asarray(x)
    pairs = min(len(x) // 2, num_pairs)
    if not pairs:
        return
    first, last = z[:pairs, None], z[pairs : 2 * pairs, None]
    weight = jnp.linspace(0, 1, num_between)[None, :, None]
    line = (1 - weight) * first + weight * last
    between = decode(line.reshape(-1, line.shape[-1]))
    between = between.reshape(pairs, num_between, *x.shape[1:])
    rows = jnp.concatenate([x[:pairs, None], between, x[pairs : 2 * pairs, None]], axis=1)
    pictures.save_samples(path, rows.reshape(-1, *x.shape[1:]), columns=num_between + 2)


def save_traversal(
    path: str | Path,
    decode: Decode,
    z: Float[Array, " dim"],
    dimensions: Sequence[int] | np.ndarray,
    *,
    reach: float = 2.5,
    num_images: int = 11,
) -> None:
    """A row for each dimension of z, which goes from -reach to reach; the others stay."""
    values = jnp.linspace(-reach, reach, num_images)
    row = lambda i: jax.vmap(lambda value: z.at[i].set(value))(values)
    images = decode(jnp.concatenate([row(i) for i in dimensions]))
    pictures.save_samples(path, images, columns=num_images)


def save_manifold(path: str | Path, decode: Decode, size: int = 20) -> None:
    """Means over a grid of z in the plane, at quantiles of the normal prior, z_2 upwards.

    Source: Kingma & Welling (2014), arXiv:1312.6114, appendix A.
    """
    quantiles = jax.scipy.stats.norm.ppf((jnp.arange(size) + 0.5) / size)
    z1, z2 = jnp.meshgrid(quantiles, quantiles[::-1])
    images = decode(jnp.stack([z1.reshape(-1), z2.reshape(-1)], axis=1))
    pictures.save_samples(path, images, columns=size)
