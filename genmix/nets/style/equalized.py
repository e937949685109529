"""Layers whose weights are scaled when they are used: all then learn at one rate under Adam."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from genmix.nets.pixels import Image, convolve


class EqualizedLinear(nnx.Module):
    """x W gain / sqrt(in) + b, with W drawn from N(0, 1).

    Adam moves each entry of W by about its rate, so that of the weights in use is the rate times
    gain / sqrt(in): with epsilon 0 exactly as Adam at that rate moves those.

    Args:
        rate: multiplies the learning rate of weights and bias, and leaves the start as it is.
        bias: where the biases start.

    Source: Karras et al. (2018), arXiv:1710.10196, section 4.1.
    """

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        gain: float = 1.0,
        rate: float = 1.0,
        bias: float = 0.0,
        rngs: nnx.Rngs,
    ):
        if min(in_size, out_size) < 1:
            raise ValueError(f"EqualizedLinear needs positive sizes, got {in_size}, {out_size}.")
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), (in_size, out_size)) / rate)
        self.bias = nnx.Param(jnp.full(out_size, bias / rate))
        self.factor, self.rate = gain * rate / math.sqrt(in_size), rate

    def __call__(self, x: Float[Array, "*n in"]) -> Float[Array, "*n out"]:
        y = x @ (self.factor * self.kernel[...])
        return y + self.rate * self.bias[...].reshape((1,) * (y.ndim - 1) + (-1,))


class EqualizedConvolution(nnx.Module):
    """The same for a convolution of odd size; the image keeps its height and width."""

    def __init__(
        self, in_size: int, out_size: int, size: int, *, gain: float = 2**0.5, rngs: nnx.Rngs
    ):
        if min(in_size, out_size, size) < 1 or size % 2 == 0:
            raise ValueError(
                "EqualizedConvolution needs positive sizes and an odd kernel, got "
                f"{in_size}, {out_size}, {size}."
            )
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), (size, size, in_size, out_size)))
        self.bias = nnx.Param(jnp.zeros(out_size))
        self.factor, self.reach = gain / math.sqrt(size * size * in_size), size // 2

    def __call__(self, x: Image) -> Image:
        padding = ((self.reach, self.reach), (self.reach, self.reach))
        y = convolve(x, self.factor * self.kernel[...], padding)
        return y + self.bias[...].reshape(1, 1, -1)
