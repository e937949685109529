"""Convolutional network from a vector to an image."""

import itertools
from collections.abc import Sequence

import jax
from flax import nnx
from jaxtyping import Array, Float

from genmix.nets.conv_encoder import coarsest
from genmix.nets.convolution.strided import Doubling


class ConvDecoder(nnx.Module):
    """Vector to image for one event: a linear layer, then transposed convolutions of stride 2.

    Their kernels are 4x4, so that every pixel is reached by the same number of inputs: 3x3 ones
    leave a checkerboard (Odena, Dumoulin & Olah, 2016, doi:10.23915/distill.00003). Relu between
    the layers, none after the last.

    Args:
        in_size: entries of the vector.
        channels: inputs of each transposed convolution, such as (64, 32); the image doubles once
            for each.
        out_shape: [height, width, channels], with sides that can be halved as often.
    """

    def __init__(
        self, in_size: int, channels: Sequence[int], out_shape: Sequence[int], *, rngs: nnx.Rngs
    ):
        self.coarse = (*coarsest("ConvDecoder", out_shape, len(channels)), *channels[:1])
        if not channels or min((*channels, in_size)) < 1:
            raise ValueError(
                f"ConvDecoder needs positive sizes and at least one layer, got in_size {in_size}, "
                f"channels {tuple(channels)}."
            )
        self.in_size = in_size
        widths = [*channels, out_shape[-1]]
        he = nnx.initializers.he_normal()
        height, width, _ = self.coarse
        self.linear = nnx.Linear(in_size, height * width * widths[0], kernel_init=he, rngs=rngs)
        self.convolutions = nnx.List(
            [Doubling(a, b, 4, kernel_init=he, rngs=rngs) for a, b in itertools.pairwise(widths)]
        )

    def __call__(self, z: Float[Array, " in"]) -> Float[Array, "height width channels"]:
        if z.shape != (self.in_size,):
            raise ValueError(
                f"ConvDecoder expects one vector of {self.in_size} entries, got shape {z.shape}; "
                "for a batch use jax.vmap."
            )
        h = self.linear(z).reshape(self.coarse)
        for convolution in self.convolutions:
            h = convolution(jax.nn.relu(h))
        return h
