"""Convolutional network from an image to one of another domain."""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from genmix.nets.convolution.strided import Doubling, Halving
from genmix.nets.instance_norm import InstanceNorm
from genmix.nets.pixels import Convolution

_INIT = nnx.initializers.normal(0.02)


class ResidualTranslator(nnx.Module):
    """Image in [-1, 1] to an image in [-1, 1] of the same height and width: CycleGAN's generator.

    A convolution, halvings, residual blocks at the coarsest resolution, doublings, a convolution
    and tanh; instance normalization and relu between them. Sides of any length: odd ones are
    rounded up when halved, and what is doubled is cropped to what it was.

    Args:
        in_shape: [height, width, channels].
        channels: of each resolution, the image's own first; (32,) halves nothing.
        num_blocks: residual blocks.
        out_channels: of the image that comes out; those of in_shape if not given.

    Source: Zhu et al. (2017), arXiv:1703.10593, appendix 7.2; Johnson, Alahi & Fei-Fei (2016),
    arXiv:1603.08155.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        channels: Sequence[int],
        *,
        num_blocks: int = 2,
        out_channels: int | None = None,
        rngs: nnx.Rngs,
    ):
        self.in_shape = tuple(in_shape)
        out = self.in_shape[-1] if out_channels is None else out_channels
        if len(self.in_shape) != 3 or not channels or min(*self.in_shape, *channels, out) < 1:
            raise ValueError(
                "ResidualTranslator needs images [height, width, channels] and positive sizes, got "
                f"in_shape {self.in_shape}, channels {tuple(channels)}, out_channels {out}."
            )
        convolution = lambda a, b, size: Convolution(a, b, size, kernel_init=_INIT, rngs=rngs)
        pairs, last = list(itertools.pairwise(channels)), channels[-1]
        self.first = convolution(self.in_shape[-1], channels[0], 3)
        self.halve = nnx.List([Halving(a, b, 3, kernel_init=_INIT, rngs=rngs) for a, b in pairs])
        self.blocks = nnx.List(
            [
                nnx.List([convolution(last, last, 3), convolution(last, last, 3)])
                for _ in range(num_blocks)
            ]
        )
        self.double = nnx.List([Doubling(b, a, 4, kernel_init=_INIT, rngs=rngs) for a, b in pairs])
        self.out = convolution(channels[0], out, 3)
        self.norms_down = nnx.List([InstanceNorm(c) for c in channels])
        self.norms_inside = nnx.List(
            [nnx.List([InstanceNorm(last), InstanceNorm(last)]) for _ in range(num_blocks)]
        )
        self.norms_up = nnx.List([InstanceNorm(a) for a, _ in pairs])

    def __call__(
        self, x: Float[Array, "height width channels"]
    ) -> Float[Array, "height width out_channels"]:
        if x.shape != self.in_shape:
            raise ValueError(
                f"ResidualTranslator expects one image of shape {self.in_shape}, got {x.shape}; "
                "for a batch use jax.vmap."
            )
        h, sizes = jax.nn.relu(self.norms_down[0](self.first(x))), []
        for halve, norm in zip(self.halve, self.norms_down[1:], strict=True):
            sizes.append(h.shape[:2])
            h = jax.nn.relu(norm(halve(h)))
        for block, norms in zip(self.blocks, self.norms_inside, strict=True):
            inner = jax.nn.relu(norms[0](block[0](h)))
            h = h + norms[1](block[1](inner))
        for double, norm in zip(self.double[::-1], self.norms_up[::-1], strict=True):
            height, width = sizes.pop()
            h = jax.nn.relu(norm(double(h)[:height, :width]))
        return jnp.tanh(self.out(h))
