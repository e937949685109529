"""Convolutional network from an image to an image, by way of coarser ones."""

import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PyTree

from genmix.nets.conv_encoder import coarsest
from genmix.nets.convolution.strided import Doubling, Halving
from genmix.nets.group_norm import GroupNorm
from genmix.nets.joined import joined
from genmix.nets.pixels import Convolution, Image
from genmix.nets.time_features import TimeFeatures

_FEATURES = 32


def _convolution(a: int, b: int, rngs: nnx.Rngs, *, zero: bool = False) -> Convolution:
    init = nnx.initializers.zeros if zero else nnx.initializers.he_normal()
    return Convolution(a, b, 3, kernel_init=init, rngs=rngs)


def _norm(channels: int) -> GroupNorm:
    return GroupNorm(channels, num_groups=math.gcd(channels, 8))


class ResidualBlock(nnx.Module):
    """Two convolutions beside a shortcut, scaled and shifted by what the block is told.

    Source: He et al. (2016), arXiv:1603.05027; Dhariwal & Nichol (2021), arXiv:2105.05233, for the
    scales.
    """

    def __init__(self, a: int, b: int, told_size: int, *, rngs: nnx.Rngs):
        zeros = nnx.initializers.zeros
        self.norms = nnx.List([_norm(a), _norm(b)])
        self.first = _convolution(a, b, rngs)
        self.second = _convolution(b, b, rngs, zero=True)
        self.told = nnx.Linear(told_size, 2 * b, kernel_init=zeros, rngs=rngs)
        self.shortcut = None if a == b else nnx.Linear(a, b, use_bias=False, rngs=rngs)

    def __call__(self, x: Image, told: Float[Array, " told"]) -> Image:
        scale, shift = jnp.split(self.told(told)[None, None], 2, axis=-1)
        h = self.first(jax.nn.silu(self.norms[0](x)))
        h = self.second(jax.nn.silu(self.norms[1](h) * (1 + scale) + shift))
        return h + (x if self.shortcut is None else self.shortcut(x))


class Attention(nnx.Module):
    """Every pixel looks at all pixels of its image; one head, beside a shortcut.

    Source: Ho, Jain & Abbeel (2020), arXiv:2006.11239, appendix B.
    """

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        self.norm = _norm(channels)
        self.looks = nnx.Linear(channels, 3 * channels, rngs=rngs)
        self.out = nnx.Linear(channels, channels, kernel_init=nnx.initializers.zeros, rngs=rngs)

    def __call__(self, x: Image) -> Image:
        pixels = self.looks(self.norm(x)).reshape(-1, 3 * x.shape[-1])
        query, key, value = jnp.split(pixels, 3, axis=-1)
        weights = jax.nn.softmax(query @ key.T / math.sqrt(x.shape[-1]))
        return x + self.out(weights @ value).reshape(x.shape)


class UNet(nnx.Module):
    """(image, time, cond) -> image: down by halves, attention at the coarsest, and up again.

    Each resolution has one residual block on the way down and one on the way up, which sees both
    what comes from below and what the way down left at its resolution. The last layer starts at
    zero.

    Args:
        in_shape: (height, width, *channels); further axes are channels together.
        channels: of each resolution, the image's own first, such as (16, 32, 32).
        out_shape: by default in_shape; height and width are the same.
        cond_size: entries of the condition, all its arrays together; 0 for none.
        span: between which times lie, see `TimeFeatures`.

    Raises:
        ValueError: if a size is not positive, or sides cannot be halved so often; at a call, if the
            image or the condition has another size.

    Source: Ronneberger, Fischer & Brox (2015), arXiv:1505.04597; Ho, Jain & Abbeel (2020),
    arXiv:2006.11239, appendix B.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        channels: Sequence[int],
        *,
        out_shape: Sequence[int] | None = None,
        cond_size: int = 0,
        span: tuple[float, float] = (-15.0, 10.0),
        rngs: nnx.Rngs,
    ):
        self.in_shape = tuple(in_shape)
        self.out_shape = self.in_shape if out_shape is None else tuple(out_shape)
        if not channels or min(*channels, cond_size + 1) < 1 or len(self.in_shape) < 3:
            raise ValueError(
                "UNet needs images (height, width, channels) and positive sizes, got in_shape "
                f"{self.in_shape}, channels {tuple(channels)}, cond_size {cond_size}."
            )
        if self.out_shape[:2] != self.in_shape[:2]:
            raise ValueError(
                f"UNet keeps height and width, got in_shape {self.in_shape} and out_shape "
                f"{self.out_shape}."
            )
        flat = (*self.in_shape[:2], math.prod(self.in_shape[2:]))
        coarsest("UNet", flat, len(channels) - 1)
        self.cond_size, told = cond_size, 4 * channels[0]
        self.features = TimeFeatures(_FEATURES, span=span)
        self.told = nnx.Linear(_FEATURES + cond_size, told, rngs=rngs)
        he = nnx.initializers.he_normal()
        self.first = _convolution(flat[-1], channels[0], rngs)
        pairs = list(itertools.pairwise(channels))
        block = lambda a, b: ResidualBlock(a, b, told, rngs=rngs)
        self.down = nnx.List([block(a, a) for a, _ in pairs])
        self.halve = nnx.List([Halving(a, b, 3, kernel_init=he, rngs=rngs) for a, b in pairs])
        last = channels[-1]
        self.middle = nnx.List([block(last, last), block(last, last)])
        self.attention = Attention(last, rngs=rngs)
        self.double = nnx.List([Doubling(b, a, 4, kernel_init=he, rngs=rngs) for a, b in pairs])
        self.up = nnx.List([block(2 * a, a) for a, _ in pairs])
        self.norm = _norm(channels[0])
        self.out = _convolution(channels[0], math.prod(self.out_shape[2:]), rngs, zero=True)

    def __call__(
        self, x: Float[Array, "..."], time: Float[Array, ""], cond: PyTree = None
    ) -> Float[Array, "..."]:
        if x.shape != self.in_shape:
            raise ValueError(
                f"UNet expects one image of shape {self.in_shape}, got {x.shape}; for a batch use "
                "jax.vmap."
            )
        told = joined([self.features(time), *jax.tree.leaves(cond)])
        if told.size != _FEATURES + self.cond_size:
            raise ValueError(
                f"UNet needs a cond of {self.cond_size} entries, got {told.size - _FEATURES}."
            )
        told = jax.nn.silu(self.told(told))
        h, left = self.first(x.reshape(*x.shape[:2], -1)), []
        for block, halve in zip(self.down, self.halve, strict=True):
            h = block(h, told)
            left.append(h)
            h = halve(h)
        h = self.middle[1](self.attention(self.middle[0](h, told)), told)
        for block, double in zip(self.up[::-1], self.double[::-1], strict=True):
            h = block(jnp.concatenate([double(h), left.pop()], axis=-1), told)
        return self.out(jax.nn.silu(self.norm(h))).reshape(self.out_shape)
