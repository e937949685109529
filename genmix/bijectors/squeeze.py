"""Space to channels and back."""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import PyTree

from genmix.bijectors.directions import Event, LogDet

# Of the pixels of each 2x2 square, those of one colour of a checkerboard come first.
ORDER = (0, 3, 1, 2)


class Squeeze(nnx.Module):
    """Data [2h, 2w, c] <-> base [h, w, 4c]: four neighbouring pixels become channels.

    On the base side, the first 2c channels are the pixels of one colour of a checkerboard, the last
    2c those of the other. A coupling that keeps half of the channels there is thus the checkerboard
    coupling of RealNVP.

    Source: Dinh et al. (2017), arXiv:1605.08803, section 3.6.
    """

    def forward_and_log_det(self, x: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        del cond
        if x.ndim != 3 or x.shape[-1] % 4:
            raise ValueError(
                "Squeeze needs base events [height, width, channels] with a multiple of 4 "
                f"channels, got shape {x.shape}."
            )
        height, width, channels = x.shape
        pixels = x.reshape(height, width, 4, channels // 4)
        square = pixels[:, :, np.argsort(ORDER)]
        square = square.reshape(height, width, 2, 2, channels // 4).transpose(0, 2, 1, 3, 4)
        return square.reshape(2 * height, 2 * width, channels // 4), jnp.zeros((), x.dtype)

    def inverse_and_log_det(self, y: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        del cond
        if y.ndim != 3 or y.shape[0] % 2 or y.shape[1] % 2:
            raise ValueError(
                "Squeeze needs data [height, width, channels] with even height and width, got "
                f"shape {y.shape}: pad the images, or squeeze them less often."
            )
        height, width, channels = y.shape
        square = y.reshape(height // 2, 2, width // 2, 2, channels).transpose(0, 2, 1, 3, 4)
        pixels = square.reshape(height // 2, width // 2, 4, channels)[:, :, np.array(ORDER)]
        return pixels.reshape(height // 2, width // 2, 4 * channels), jnp.zeros((), y.dtype)
