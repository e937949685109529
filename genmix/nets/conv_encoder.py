"""Convolutional network from an image to a vector."""

import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from genmix.nets import one_event
from genmix.nets.convolution.strided import Halving
from genmix.nets.outputs import Redraw, replaced


def coarsest(name: str, shape: Sequence[int], num_halvings: int) -> tuple[int, int]:
    """Height and width of an image [height, width, channels] after halving it so many times.

    Raises:
        ValueError: if the shape is no image's, or its sides cannot be halved so often.
    """
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"{name} needs images [height, width, channels], got {tuple(shape)}.")
    factor = 2**num_halvings
    height, width, _ = shape
    if height % factor or width % factor:
        raise ValueError(
            f"{name} halves an image once for each entry of channels, here {num_halvings}, so its "
            f"sides must be multiples of {factor}, got {tuple(shape)}; use fewer layers."
        )
    return height // factor, width // factor


class ConvEncoder(nnx.Module):
    """Image to vector for one event: 3x3 convolutions of stride 2 with relu, then a linear layer.

    Args:
        in_shape: [height, width, channels], with sides that can be halved once for each layer.
        channels: outputs of each convolution, such as (32, 64).
        out_size: entries of the vector; a part asks for several numbers for each if it needs them.
    """

    def __init__(
        self, in_shape: Sequence[int], channels: Sequence[int], out_size: int, *, rngs: nnx.Rngs
    ):
        height, width = coarsest("ConvEncoder", in_shape, len(channels))
        if min((*channels, out_size)) < 1:
            raise ValueError(
                f"ConvEncoder needs positive sizes, got channels {tuple(channels)}, out_size "
                f"{out_size}."
            )
        self.in_shape, self.out_shape = tuple(in_shape), (out_size,)
        self.num_outputs: int | None = None
        widths = [in_shape[-1], *channels]
        he = nnx.initializers.he_normal()
        self.convolutions = nnx.List(
            [Halving(a, b, 3, kernel_init=he, rngs=rngs) for a, b in itertools.pairwise(widths)]
        )
        size = height * width * widths[-1]
        layer = lambda out_size, rngs: nnx.Linear(size, out_size, rngs=rngs)
        self.redraw = Redraw(layer, rngs)
        self.out = self.redraw.noted(layer(out_size, rngs))

    def with_outputs(self, shape: tuple[int, ...], num_outputs: int) -> "ConvEncoder":
        """The network that gives [*shape, num_outputs]; its last layer is drawn again."""
        if (shape, num_outputs) == (self.out_shape, self.num_outputs):
            return self
        out = self.redraw(num_outputs * math.prod(shape), self.out)
        return replaced(self, out_shape=shape, num_outputs=num_outputs, out=out)

    def __call__(self, x: Float[Array, "height width channels"]) -> Float[Array, "*out"]:
        one_event.require(self, x, self.in_shape)
        for convolution in self.convolutions:
            x = jax.nn.relu(convolution(x))
        out = self.out(x.reshape(-1))
        if self.num_outputs is None:
            return out
        return jnp.moveaxis(out.reshape(self.num_outputs, *self.out_shape), 0, -1)
