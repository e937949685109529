"""Convolutional network of one resolution, for the couplings of image flows."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from genmix.nets import pixels


class GlowNetwork(nnx.Module):
    """Convolutions 3x3, 1x1 and 3x3 with relu between them; the image keeps its height and width.

    The last layer starts at zero, so that a coupling starts as the identity. At each pixel it has
    the first parameter of all channels before the second, as `MLP` has with `num_outputs`.

    Args:
        in_channels: channels of the image.
        width: channels between the convolutions.
        out_shape: of the outputs at each pixel, such as (channels, transformer.num_parameters).

    Raises:
        ValueError: if a size is not positive.

    Source: Kingma & Dhariwal (2018), arXiv:1807.03039, appendix B.
    """

    def __init__(self, in_channels: int, width: int, out_shape: Sequence[int], *, rngs: nnx.Rngs):
        if min(in_channels, width, *out_shape) < 1:
            raise ValueError(
                f"GlowNetwork needs positive sizes, got in_channels {in_channels}, width {width}, "
                f"out_shape {tuple(out_shape)}."
            )
        self.out_shape = tuple(out_shape)
        he, zeros = nnx.initializers.he_normal(), nnx.initializers.zeros
        size = math.prod(out_shape)
        self.first = pixels.Convolution(in_channels, width, 3, kernel_init=he, rngs=rngs)
        self.middle = nnx.Linear(width, width, kernel_init=he, rngs=rngs)
        self.out = pixels.Convolution(width, size, 3, kernel_init=zeros, rngs=rngs)

    def __call__(self, x: Float[Array, "height width channels"]) -> Float[Array, "..."]:
        h = jax.nn.relu(self.middle(jax.nn.relu(self.first(x))))
        *entries, parameters = self.out_shape
        out = self.out(h).reshape(*x.shape[:2], parameters, *entries)
        return jnp.moveaxis(out, 2, -1)
