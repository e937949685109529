"""From styles and noise to an image, resolution by resolution."""

import itertools
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from genmix.nets import resampling
from genmix.nets.pixels import Image
from genmix.nets.style.adain import adain
from genmix.nets.style.equalized import EqualizedConvolution, EqualizedLinear
from genmix.nets.style.modulated_convolution import ModulatedConvolution

Kind = Literal["modulated", "adain"]


class StyledLayer(nnx.Module):
    """A 3x3 convolution told by a style, noise on every pixel, bias and leaky relu.

    Either the style scales the weights ("modulated"), or it is the mean and deviation of what comes
    out ("adain"). The noise is one number a pixel, whose strength starts at 0.
    """

    def __init__(self, in_size: int, out_size: int, style_size: int, kind: Kind, rngs: nnx.Rngs):
        if kind == "modulated":
            self.convolution = ModulatedConvolution(in_size, out_size, 3, style_size, rngs=rngs)
            self.told = None
        else:
            self.convolution = EqualizedConvolution(in_size, out_size, 3, rngs=rngs)
            self.told = nnx.List(
                [EqualizedLinear(style_size, out_size, bias=b, rngs=rngs) for b in (1.0, 0.0)]
            )
        self.strength = nnx.Param(jnp.zeros(()))
        self.bias = nnx.Param(jnp.zeros(out_size))

    def __call__(self, key: Key[Array, ""], x: Image, style: Float[Array, " style"]) -> Image:
        if isinstance(self.convolution, ModulatedConvolution):
            h = self.convolution(x, style)
        else:
            h = self.convolution(x)
        h = h + self.strength[...] * jax.random.normal(key, (*h.shape[:2], 1))
        h = 2**0.5 * jax.nn.leaky_relu(h + self.bias[...].reshape(1, 1, -1), 0.2)
        if self.told is None:
            return h
        scale, shift = (layer(style) for layer in self.told)
        return adain(h, scale, shift)


class Synthesis(nnx.Module):
    """(key, styles) -> image, from a constant on: two layers each resolution, one at the coarsest.

    Each resolution adds its own image to the doubled one before. Sides of any length: what is
    doubled is cut to the next size.

    Args:
        channels: of each resolution, from the coarsest to the image's own.
        out_shape: [height, width, channels].
        kind: how styles act, see `StyledLayer`.

    Source: Karras et al. (2019), arXiv:1812.04948, figure 1b; (2020), arXiv:1912.04958, figure 7b.
    """

    def __init__(
        self,
        style_size: int,
        channels: Sequence[int],
        out_shape: Sequence[int],
        *,
        kind: Kind = "modulated",
        rngs: nnx.Rngs,
    ):
        if not channels or len(out_shape) != 3 or min(*channels, *out_shape, style_size) < 1:
            raise ValueError(
                "Synthesis needs images [height, width, channels] and positive sizes, got "
                f"style_size {style_size}, channels {tuple(channels)}, out_shape "
                f"{tuple(out_shape)}."
            )
        self.sizes = tuple(resampling.sizes(out_shape, len(channels)))
        self.num_styles, self.style_size = 2 * len(channels) - 1, style_size
        first = (*self.sizes[0], channels[0])
        self.constant = nnx.Param(jax.random.normal(rngs.params(), first))
        widths = [channels[0], *[c for c in channels for _ in range(2)][1:]]
        layer = lambda a, b: StyledLayer(a, b, style_size, kind, rngs)
        self.layers = nnx.List([layer(a, b) for a, b in itertools.pairwise(widths)])
        self.to_image = nnx.List([EqualizedLinear(c, out_shape[-1], rngs=rngs) for c in channels])

    def __call__(self, key: Key[Array, ""], styles: Float[Array, "layers style"]) -> Image:
        if styles.shape != (self.num_styles, self.style_size):
            raise ValueError(
                f"Synthesis needs styles of shape {(self.num_styles, self.style_size)}, got "
                f"{styles.shape}."
            )
        keys = jax.random.split(key, self.num_styles)
        h = self.layers[0](keys[0], self.constant[...], styles[0])
        image = self.to_image[0](h)
        for level, size in enumerate(self.sizes[1:], start=1):
            h = resampling.doubled(h, size)
            for i in (2 * level - 1, 2 * level):
                h = self.layers[i](keys[i], h, styles[i])
            image = resampling.doubled(image, size) + self.to_image[level](h)
        return image
