"""Convolutional network from a vector at each place to a finer image."""

import itertools
from collections.abc import Sequence

import jax
from flax import nnx
from jaxtyping import Array, Float

from genmix.nets import one_event
from genmix.nets.conv_encoder import coarsest
from genmix.nets.convolution.strided import Doubling
from genmix.nets.pixels import Convolution


class MapDecoder(nnx.Module):
    """Map to image for one event: a 3x3 convolution, then transposed ones of stride 2, with relu.

    Args:
        in_size: entries of the vector at each place.
        channels: inputs of each transposed convolution, such as (64, 32); the map doubles once for
            each.
        out_shape: [height, width, channels], with sides that can be halved as often.
    """

    def __init__(
        self, in_size: int, channels: Sequence[int], out_shape: Sequence[int], *, rngs: nnx.Rngs
    ):
        self.in_shape = (*coarsest("MapDecoder", out_shape, len(channels)), in_size)
        if not channels or min((*channels, in_size)) < 1:
            raise ValueError(
                f"MapDecoder needs positive sizes and at least one layer, got in_size {in_size}, "
                f"channels {tuple(channels)}."
            )
        widths = [*channels, out_shape[-1]]
        he = nnx.initializers.he_normal()
        self.context = Convolution(in_size, widths[0], 3, kernel_init=he, rngs=rngs)
        self.convolutions = nnx.List(
            [Doubling(a, b, 4, kernel_init=he, rngs=rngs) for a, b in itertools.pairwise(widths)]
        )

    def __call__(self, z: Float[Array, "rows columns in"]) -> Float[Array, "height width channels"]:
        one_event.require(self, z, self.in_shape)
        h = self.context(z)
        for convolution in self.convolutions:
            h = convolution(jax.nn.relu(h))
        return h
