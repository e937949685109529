"""A generator and a critic that grow, resolution by resolution."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, ArrayLike, Float

from genmix.nets import resampling, state
from genmix.nets.pixels import Image
from genmix.nets.style.equalized import EqualizedConvolution, EqualizedLinear
from genmix.nets.style.minibatch_deviation import MinibatchDeviation
from genmix.nets.style.pixel_norm import pixel_normalized

M = TypeVar("M")


class Fade(nnx.Variable):
    """How far the newest resolution has come, from 0 to 1; nobody trains it."""


def faded(module: M, fade: Float[ArrayLike, ""]) -> M:
    """Copy of a module (or a pytree of modules) whose newest resolutions have come so far."""
    value = jnp.asarray(fade, jnp.float32)
    return state.with_variables(module, dict.fromkeys(state.variables(module, Fade), value))


def grown(module: M, level: int) -> M:
    """Copy of a module whose networks that grow are at a level, of which all has come.

    It has the same parameters; those of later levels wait.

    Raises:
        ValueError: if a network has no such level.
    """
    copy = faded(module, 1.0)
    for _, part in nnx.iter_graph(copy):
        if isinstance(part, (GrowingGenerator, GrowingCritic)):
            if not 0 <= level < len(part.sizes):
                raise ValueError(f"level must be between 0 and {len(part.sizes) - 1}, got {level}.")
            part.level = level
    return copy


def _blend(fade: Array, old: Image, new: Image) -> Image:
    """At 0 the old image and at 1 the new one, bit for bit."""
    return (1 - fade) * old + fade * new


def _leaky(x: Array) -> Array:
    return jax.nn.leaky_relu(x, 0.2)


def _checked_sizes(
    name: str, shape: Sequence[int], channels: Sequence[int], **others: int
) -> tuple[tuple[int, int], ...]:
    if not channels or len(shape) != 3 or min(*channels, *shape, *others.values(), 1) < 1:
        got = "".join(f", {key} {value}" for key, value in others.items())
        raise ValueError(
            f"{name} needs images [height, width, channels] and positive sizes, got shape "
            f"{tuple(shape)}, channels {tuple(channels)}{got}."
        )
    return tuple(resampling.sizes(shape, len(channels)))


class GrowingGenerator(nnx.Module):
    """Vector to image: pixels of norm 1, two convolutions each resolution, up to that of `level`.

    While the newest resolution fades in, its image is blended with the doubled one before. The
    output is not squashed. Sides of any length: what is doubled is cut to the next size.

    Args:
        channels: of each resolution, from the coarsest to the image's own.
        out_shape: [height, width, channels] at the last level, where a new network is.

    Source: Karras et al. (2018), arXiv:1710.10196, figure 2 and appendix A.
    """

    def __init__(
        self, in_size: int, channels: Sequence[int], out_shape: Sequence[int], *, rngs: nnx.Rngs
    ):
        self.sizes = _checked_sizes("GrowingGenerator", out_shape, channels, in_size=in_size)
        self.in_size, self.level, self.fade = in_size, len(channels) - 1, Fade(jnp.ones(()))
        convolution = lambda a, b: EqualizedConvolution(a, b, 3, rngs=rngs)
        height, width = self.sizes[0]
        size = height * width * channels[0]
        self.coarse = (height, width, channels[0])
        self.first = EqualizedLinear(in_size, size, gain=2**0.5 / 4, rngs=rngs)
        self.second = convolution(channels[0], channels[0])
        self.blocks = nnx.List(
            [nnx.List([convolution(a, b), convolution(b, b)]) for a, b in pairwise(channels)]
        )
        self.to_image = nnx.List([EqualizedLinear(c, out_shape[-1], rngs=rngs) for c in channels])

    def __call__(self, z: Float[Array, " in"]) -> Image:
        if z.shape != (self.in_size,):
            raise ValueError(
                f"GrowingGenerator expects one vector of {self.in_size} entries, got {z.shape}."
            )
        normalized = lambda h: pixel_normalized(_leaky(h))
        h = normalized(self.first(pixel_normalized(z)).reshape(self.coarse))
        h = before = normalized(self.second(h))
        for level in range(1, self.level + 1):
            before, h = h, resampling.doubled(h, self.sizes[level])
            for convolution in self.blocks[level - 1]:
                h = normalized(convolution(h))
        image = self.to_image[self.level](h)
        if not self.level:
            return image
        old = resampling.doubled(self.to_image[self.level - 1](before), self.sizes[self.level])
        return _blend(self.fade[...], old, image)

    def real(self, x: Image) -> Image:
        """An image of the data as blurred as those of the generator are while it fades in."""
        if not self.level:
            return x
        return _blend(self.fade[...], resampling.doubled(resampling.halved(x), x.shape[:2]), x)


class GrowingCritic(nnx.Module):
    """Image to score, the mirror of `GrowingGenerator`, with the deviation of its batch at the end.

    Args:
        in_shape: [height, width, channels] at the last level, where a new network is.
        channels: of each resolution, from the coarsest to the image's own, as of the generator.

    Source: Karras et al. (2018), arXiv:1710.10196, figure 2 and appendix A.
    """

    def __init__(self, in_shape: Sequence[int], channels: Sequence[int], *, rngs: nnx.Rngs):
        self.sizes = _checked_sizes("GrowingCritic", in_shape, channels)
        self.in_channels, self.level = in_shape[-1], len(channels) - 1
        self.fade = Fade(jnp.ones(()))
        convolution = lambda a, b: EqualizedConvolution(a, b, 3, rngs=rngs)
        gain = {"gain": 2**0.5, "rngs": rngs}
        self.from_image = nnx.List([EqualizedLinear(in_shape[-1], c, **gain) for c in channels])
        self.blocks = nnx.List(
            [nnx.List([convolution(b, b), convolution(b, a)]) for a, b in pairwise(channels)]
        )
        self.deviation = MinibatchDeviation()
        self.last = convolution(channels[0] + 1, channels[0])
        size = self.sizes[0][0] * self.sizes[0][1] * channels[0]
        self.hidden = EqualizedLinear(size, channels[0], **gain)
        self.out = EqualizedLinear(channels[0], 1, rngs=rngs)

    def __call__(self, x: Image) -> Float[Array, ""]:
        expected = (*self.sizes[self.level], self.in_channels)
        if x.shape != expected:
            raise ValueError(
                f"GrowingCritic at level {self.level} expects one image of shape {expected}, got "
                f"{x.shape}."
            )
        h = _leaky(self.from_image[self.level](x))
        for level in range(self.level, 0, -1):
            for convolution in self.blocks[level - 1]:
                h = _leaky(convolution(h))
            h = resampling.halved(h)
            if level == self.level:
                old = _leaky(self.from_image[level - 1](resampling.halved(x)))
                h = _blend(self.fade[...], old, h)
        h = _leaky(self.last(self.deviation(h)))
        return self.out(_leaky(self.hidden(h.reshape(-1))))[0]
