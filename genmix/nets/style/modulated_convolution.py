"""A convolution whose weights a style scales."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from genmix.nets.pixels import Image, convolve
from genmix.nets.style.equalized import EqualizedLinear

Kernel = Float[Array, "rows columns in out"]
Scales = Float[Array, " in"]
_EPSILON = 1e-8


def demodulated(kernel: Kernel, scales: Scales) -> Kernel:
    """The kernel with its inputs scaled, and then each output's weights to norm 1."""
    scaled = kernel * scales.reshape(1, 1, -1, 1)
    return scaled * jax.lax.rsqrt(jnp.sum(scaled**2, axis=(0, 1, 2), keepdims=True) + _EPSILON)


def fused(x: Image, kernel: Kernel, scales: Scales) -> Image:
    """The convolution with `demodulated`, as the paper has it.

    Source: Karras et al. (2020), arXiv:1912.04958, equations 1 and 3.
    """
    return convolve(x, demodulated(kernel, scales), _padding(kernel))


def unfused(x: Image, kernel: Kernel, scales: Scales) -> Image:
    """The same, with x scaled before and the outputs after: all events of a batch share a kernel.

    What makes one large product out of many small ones is faster on CPU.
    """
    y = convolve(x * scales.reshape(1, 1, -1), kernel, _padding(kernel))
    squares = jnp.sum(kernel**2, axis=(0, 1))
    return y * jax.lax.rsqrt(scales**2 @ squares + _EPSILON).reshape(1, 1, -1)


def _padding(kernel: Kernel) -> tuple[tuple[int, int], tuple[int, int]]:
    rows, columns = kernel.shape[0] // 2, kernel.shape[1] // 2
    return (rows, rows), (columns, columns)


class ModulatedConvolution(nnx.Module):
    """(image, style) -> image of the same height and width, without a bias.

    The scales are a linear function of the style, that starts around 1.
    """

    def __init__(
        self,
        in_size: int,
        out_size: int,
        size: int,
        style_size: int,
        *,
        rngs: nnx.Rngs,
    ):
        if min(in_size, out_size, size, style_size) < 1 or size % 2 == 0:
            raise ValueError(
                "ModulatedConvolution needs positive sizes and an odd kernel, got "
                f"{in_size}, {out_size}, {size}, style_size {style_size}."
            )
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), (size, size, in_size, out_size)))
        self.scales = EqualizedLinear(style_size, in_size, bias=1.0, rngs=rngs)

    def __call__(self, x: Image, style: Float[Array, " style"]) -> Image:
        return unfused(x, self.kernel[...], self.scales(style))
