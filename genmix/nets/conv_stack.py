"""Convolutions that keep an image's height and width."""

import itertools
from collections.abc import Sequence

import jax
from flax import nnx
from jaxtyping import Array, Float

from genmix.nets.pixels import Convolution


class ConvStack(nnx.Module):
    """Image to image of any size for one event: 3x3 convolutions, relu between them.

    Args:
        in_channels: of the image.
        channels: outputs of each convolution but the last one.
        out_channels: of the image that comes out.
    """

    def __init__(
        self, in_channels: int, channels: Sequence[int], out_channels: int, *, rngs: nnx.Rngs
    ):
        if min(in_channels, *channels, out_channels) < 1:
            raise ValueError(
                f"ConvStack needs positive sizes, got in_channels {in_channels}, channels "
                f"{tuple(channels)}, out_channels {out_channels}."
            )
        he = nnx.initializers.he_normal()
        self.convolutions = nnx.List(
            [
                Convolution(a, b, 3, kernel_init=he, rngs=rngs)
                for a, b in itertools.pairwise((in_channels, *channels, out_channels))
            ]
        )

    def __call__(self, x: Float[Array, "height width in"]) -> Float[Array, "height width out"]:
        if x.ndim != 3 or x.shape[-1] != self.convolutions[0].kernel.shape[2]:
            raise ValueError(
                f"ConvStack expects one image of {self.convolutions[0].kernel.shape[2]} channels, "
                f"got shape {x.shape}; for a batch use jax.vmap."
            )
        for convolution in self.convolutions[:-1]:
            x = jax.nn.relu(convolution(x))
        return self.convolutions[-1](x)
