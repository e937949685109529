"""Digits in colours on striped grounds, rendered from the grey ones that ship with scikit-learn.

They need no file: a set of images of three channels to try parts on.
"""

import numpy as np
from jaxtyping import Float

from genmix.data.grey import Images

_CONTRAST = 0.2  # at least, of the lighter and the darker colour in each channel


def coloured(
    ink: Float[np.ndarray, "n height width 1"], *, seed: int = 0
) -> Float[np.ndarray, "n height width 3"]:
    """Images whose share of ink is given, in [0, 1], each in two colours of its own.

    The ground has stripes, in any direction and four to eight pixels apart, that darken its colour
    by up to a quarter. One colour is lighter than the other in every channel; whether it is that of
    the ink is a fair coin.
    """
    rng = np.random.default_rng(seed)
    count, height, width, _ = ink.shape
    dark = rng.uniform(0, 0.4, (count, 3))
    light = rng.uniform(0.4 + _CONTRAST, 1, (count, 3))
    is_swapped = rng.integers(2, size=(count, 1)).astype(bool)
    figure, ground = np.where(is_swapped, dark, light), np.where(is_swapped, light, dark)
    angle, period = rng.uniform(0, np.pi, count), rng.uniform(4, 8, count)
    start = rng.uniform(0, 2 * np.pi, count)
    y, x = np.mgrid[:height, :width]
    along = np.cos(angle)[:, None, None] * x + np.sin(angle)[:, None, None] * y
    wave = np.cos(2 * np.pi * along / period[:, None, None] + start[:, None, None])
    stripes = (1 - (1 + wave) / 8)[..., None]
    pixels = ink * figure[:, None, None] + (1 - ink) * stripes * ground[:, None, None]
    return pixels.astype(np.float32)


def of_images(images: Images, *, seed: int = 0) -> Images:
    """Grey images of ink in colours, with their labels."""
    train, test = coloured(images.train, seed=seed), coloured(images.test, seed=seed + 1)
    return Images(train, test, images.labels)
