"""Convolutional network from an image to a coarser one: a vector at each of its places."""

import itertools
from collections.abc import Sequence

import jax
from flax import nnx
from jaxtyping import Array, Float

from genmix.nets import one_event
from genmix.nets.conv_encoder import coarsest
from genmix.nets.convolution.strided import Halving
from genmix.nets.pixels import Convolution


class MapEncoder(nnx.Module):
    """Image to map for one event: 3x3 convolutions of stride 2 and one of stride 1, with relu.

    Args:
        in_shape: [height, width, channels], with sides that can be halved once for each layer.
        channels: outputs of each convolution of stride 2, such as (32, 64).
        out_size: entries of the vector at each place, a linear function of what is there.
    """

    def __init__(
        self, in_shape: Sequence[int], channels: Sequence[int], out_size: int, *, rngs: nnx.Rngs
    ):
        height, width = coarsest("MapEncoder", in_shape, len(channels))
        if not channels or min((*channels, out_size)) < 1:
            raise ValueError(
                "MapEncoder needs positive sizes and at least one layer, got channels "
                f"{tuple(channels)}, out_size {out_size}."
            )
        self.in_shape, self.out_shape = tuple(in_shape), (height, width, out_size)
        widths = [in_shape[-1], *channels]
        he = nnx.initializers.he_normal()
        self.convolutions = nnx.List(
            [Halving(a, b, 3, kernel_init=he, rngs=rngs) for a, b in itertools.pairwise(widths)]
        )
        self.context = Convolution(widths[-1], widths[-1], 3, kernel_init=he, rngs=rngs)
        self.out = nnx.Linear(widths[-1], out_size, rngs=rngs)

    def __call__(
        self, x: Float[Array, "height width channels"]
    ) -> Float[Array, "rows columns out"]:
        one_event.require(self, x, self.in_shape)
        for convolution in (*self.convolutions, self.context):
            x = jax.nn.relu(convolution(x))
        return self.out(x)
