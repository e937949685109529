"""Convolutional network from a vector to an image."""

import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from genmix.nets.conv_encoder import coarsest
from genmix.nets.convolution.strided import Doubling
from genmix.nets.outputs import Redraw, replaced


class ConvDecoder(nnx.Module):
    """Vector to image for one event: a linear layer, then transposed convolutions of stride 2.

    Their kernels are 4x4, so that every pixel is reached by the same number of inputs: 3x3 ones
    leave a checkerboard (Odena, Dumoulin & Olah, 2016, doi:10.23915/distill.00003). Relu between
    the layers, none after the last.

    Args:
        in_size: entries of the vector.
        channels: inputs of each transposed convolution, such as (64, 32); the image doubles once
            for each.
        out_shape: [height, width, channels], with sides that can be halved as often; a part asks
            for several numbers for each entry if it needs them.
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
        self.in_size, self.out_shape = in_size, tuple(out_shape)
        self.num_outputs: int | None = None
        widths = [*channels, out_shape[-1]]
        he = nnx.initializers.he_normal()
        height, width, _ = self.coarse
        self.linear = nnx.Linear(in_size, height * width * widths[0], kernel_init=he, rngs=rngs)
        layer = lambda a, b, rngs: Doubling(a, b, 4, kernel_init=he, rngs=rngs)
        between = [layer(a, b, rngs) for a, b in itertools.pairwise(widths[:-1])]
        self.redraw = Redraw(lambda size, rngs: layer(widths[-2], size, rngs), rngs)
        last = self.redraw.noted(layer(widths[-2], widths[-1], rngs))
        self.convolutions = nnx.List([*between, last])

    @property
    def in_shape(self) -> tuple[int, ...]:
        return (self.in_size,)

    def with_outputs(self, shape: tuple[int, ...], num_outputs: int) -> "ConvDecoder":
        """The network that gives [*shape, num_outputs]; its last layer is drawn again.

        Raises:
            ValueError: if the shape has another height and width.
        """
        if (shape, num_outputs) == (self.out_shape, self.num_outputs):
            return self
        if shape[:2] != self.out_shape[:2]:
            raise ValueError(
                f"ConvDecoder gives images of {self.out_shape[:2]} pixels, so it cannot give "
                f"{num_outputs} numbers for each entry of {shape}; use an MLP."
            )
        last = self.redraw(num_outputs * math.prod(shape[2:]), self.convolutions[-1])
        convolutions = nnx.List([*self.convolutions[:-1], last])
        return replaced(self, out_shape=shape, num_outputs=num_outputs, convolutions=convolutions)

    def __call__(self, z: Float[Array, " in"]) -> Float[Array, "height width *channels"]:
        if z.shape != (self.in_size,):
            raise ValueError(
                f"ConvDecoder expects one vector of {self.in_size} entries, got shape {z.shape}; "
                "for a batch use jax.vmap."
            )
        h = self.linear(z).reshape(self.coarse)
        for convolution in self.convolutions:
            h = convolution(jax.nn.relu(h))
        if self.num_outputs is None:
            return h
        height, width, *channels = self.out_shape
        return jnp.moveaxis(h.reshape(height, width, self.num_outputs, *channels), 2, -1)
