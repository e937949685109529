"""What a denoiser is good for: pictures without noise, and the score of those with it."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

Event = Float[Array, "*shape"]


def psnr(x: Event, restored: Float[Array, "..."], *, peak: float = 1.0) -> Float[Array, ""]:
    """Peak signal-to-noise ratio of one restored event, in decibels; inf if it is x.

    10 log10(peak^2 / mean squared error), with `peak` the range of an entry.

    Raises:
        ValueError: if the two differ in shape, or peak is not positive.
    """
    if x.shape != restored.shape:
        raise ValueError(f"x and restored must have one shape, got {x.shape}, {restored.shape}.")
    if not peak > 0:
        raise ValueError(f"peak must be positive, got {peak}.")
    return 10 * jnp.log10(peak**2 / jnp.mean((x - restored) ** 2))


def denoised_score(denoise: Callable[[Event], Event], x: Event, scale: float) -> Event:
    """Gradient of the log-density of noised events at x, as a denoiser knows it.

    (denoise(x) - x) / scale^2 with normal noise of that scale: exact of the best denoiser, the mean
    of the clean event given x (Tweedie), and close to the score of the clean ones if scale is
    small.

    Raises:
        ValueError: if the scale is not positive.

    Source: Vincent (2011), A Connection Between Score Matching and Denoising Autoencoders, Neural
    Computation 23(7); Alain & Bengio (2014), arXiv:1211.4246, theorem 1.
    """
    if not scale > 0:
        raise ValueError(f"scale must be positive, got {scale}.")
    return (denoise(x) - x) / scale**2
