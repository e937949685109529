"""Convolutional generator and critic with batch normalization."""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from genmix.nets import one_event
from genmix.nets.conv_encoder import coarsest
from genmix.nets.convolution.strided import Doubling, Halving

_INIT = nnx.initializers.normal(0.02)


def _batch_norm(size: int, rngs: nnx.Rngs) -> nnx.BatchNorm:
    return nnx.BatchNorm(size, momentum=0.9, axis_name="batch", rngs=rngs)


def _hidden(in_size: int, size: int, batch_norm: bool, rngs: nnx.Rngs) -> nnx.Sequential:
    linear = nnx.Linear(in_size, size, kernel_init=_INIT, rngs=rngs)
    return nnx.Sequential(linear, *([_batch_norm(size, rngs)] if batch_norm else []))


class DCGANGenerator(nnx.Module):
    """Vector to image: a linear layer, then transposed 4x4 convolutions of stride 2.

    Relu between the layers, tanh at the end. One event a call, but batch normalization (before
    every relu) takes its statistics over the axis named "batch": train under
    `jax.vmap(..., axis_name="batch")`, as the terms of `genmix.training` do, and draw single
    events from `nets.state.evaluating(...)`, with the statistics kept from training.

    Args:
        in_size: entries of the vector.
        channels: inputs of each transposed convolution: (128, 64) suits images of 8x8 and 28x28,
            (256, 128, 64) those of 32x32; the image doubles once for each.
        out_shape: [height, width, channels], with sides that can be halved as often.
        hidden: width of a fully connected layer before the others, as InfoGAN has it; none if None.

    Source: Radford, Metz & Chintala (2016), arXiv:1511.06434, section 3; Chen et al. (2016),
    arXiv:1606.03657, appendix C.
    """

    def __init__(
        self,
        in_size: int,
        channels: Sequence[int],
        out_shape: Sequence[int],
        *,
        hidden: int | None = None,
        batch_norm: bool = True,
        rngs: nnx.Rngs,
    ):
        self.coarse = (*coarsest("DCGANGenerator", out_shape, len(channels)), *channels[:1])
        if not channels or min((*channels, in_size, 1 if hidden is None else hidden)) < 1:
            raise ValueError(
                "DCGANGenerator needs positive sizes and at least one layer, got in_size "
                f"{in_size}, channels {tuple(channels)}, hidden {hidden}."
            )
        self.in_size = in_size
        widths = [*channels, out_shape[-1]]
        height, width, _ = self.coarse
        size = height * width * widths[0]
        self.hidden = None if hidden is None else _hidden(in_size, hidden, batch_norm, rngs)
        self.linear = nnx.Linear(
            in_size if hidden is None else hidden, size, kernel_init=_INIT, rngs=rngs
        )
        self.convolutions = nnx.List(
            [Doubling(a, b, 4, kernel_init=_INIT, rngs=rngs) for a, b in itertools.pairwise(widths)]
        )
        self.norms = nnx.List([_batch_norm(c, rngs) for c in channels] if batch_norm else [])

    def __call__(self, z: Float[Array, " in"]) -> Float[Array, "height width channels"]:
        if z.shape != (self.in_size,):
            raise ValueError(
                f"DCGANGenerator expects one vector of {self.in_size} entries, got shape "
                f'{z.shape}; for a batch use jax.vmap with axis_name="batch".'
            )
        h = z if self.hidden is None else jax.nn.relu(self.hidden(z))
        h = self.linear(h).reshape(self.coarse)
        for i, convolution in enumerate(self.convolutions):
            h = self.norms[i](h) if self.norms else h
            h = convolution(jax.nn.relu(h))
        return jnp.tanh(h)


class DCGANCritic(nnx.Module):
    """Image to score: 4x4 convolutions of stride 2 with leaky relu, then a linear layer.

    Batch normalization, before every leaky relu but the first, is as in `DCGANGenerator`: call the
    critic with real and with fake events apart, so that each are normalized among themselves.

    Args:
        in_shape: [height, width, channels], with sides that can be halved once for each layer.
        channels: outputs of each convolution, such as (64, 128).
        hidden: width of a fully connected layer after them, as InfoGAN has it; none if None.
        batch_norm: leave it out (False) with a gradient penalty, which wants a score to depend on
            one event alone, or with `spectrally_normalized`.

    Source: Radford, Metz & Chintala (2016), arXiv:1511.06434, section 3; Chen et al. (2016),
    arXiv:1606.03657, appendix C.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        channels: Sequence[int],
        *,
        hidden: int | None = None,
        batch_norm: bool = True,
        rngs: nnx.Rngs,
    ):
        height, width = coarsest("DCGANCritic", in_shape, len(channels))
        if not channels or min((*channels, 1 if hidden is None else hidden)) < 1:
            raise ValueError(
                "DCGANCritic needs positive sizes and at least one layer, got channels "
                f"{tuple(channels)}, hidden {hidden}."
            )
        self.in_shape = tuple(in_shape)
        widths = [in_shape[-1], *channels]
        self.convolutions = nnx.List(
            [Halving(a, b, 4, kernel_init=_INIT, rngs=rngs) for a, b in itertools.pairwise(widths)]
        )
        self.norms = nnx.List([_batch_norm(c, rngs) for c in channels[1:]] if batch_norm else [])
        size = height * width * widths[-1]
        self.hidden = None if hidden is None else _hidden(size, hidden, batch_norm, rngs)
        self.out = nnx.Linear(size if hidden is None else hidden, 1, kernel_init=_INIT, rngs=rngs)

    def features(self, x: Float[Array, "height width channels"]) -> Float[Array, " features"]:
        """Outputs of the last layer but one, for feature matching."""
        one_event.require(self, x, self.in_shape, "batch")
        for i, convolution in enumerate(self.convolutions):
            x = convolution(x)
            x = self.norms[i - 1](x) if i and self.norms else x
            x = jax.nn.leaky_relu(x, 0.2)
        x = x.reshape(-1)
        return x if self.hidden is None else jax.nn.leaky_relu(self.hidden(x), 0.2)

    def __call__(self, x: Float[Array, "height width channels"]) -> Float[Array, ""]:
        return self.out(self.features(x))[0]
