"""Convolutions that halve an image, and those that double it.

They have the parameters of `nnx.Conv` and `nnx.ConvTranspose` with stride 2 and padding "SAME", and
give the same images. On CPU they are products of patches with kernels: inside loops, where training
runs, XLA's convolutions and above all their gradients are several times slower there. Kernels of
size 3 and 4 between many channels take Winograd's tiles, which need half as many products.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from genmix.nets.convolution import winograd
from genmix.nets.pixels import Image, Kernel


class Halving(Kernel):
    """[2h, 2w, in] -> [h, w, out]; one event a call."""

    def __call__(self, x: Image) -> Image:
        y = jax.lax.platform_dependent(
            x, self.kernel[...], cpu=_halve_by_patches, default=_halve_by_convolution
        )
        return y + self.bias[...].reshape(1, 1, -1)


class Doubling(Kernel):
    """[h, w, in] -> [2h, 2w, out]; one event a call."""

    def __call__(self, x: Image) -> Image:
        y = jax.lax.platform_dependent(
            x, self.kernel[...], cpu=_double_by_patches, default=_double_by_convolution
        )
        return y + self.bias[...].reshape(1, 1, -1)


@jax.custom_jvp
def _product(x: Float[Array, "_ _ k"], weights: Float[Array, "k n"]) -> Float[Array, "_ _ n"]:
    return x @ weights


@_product.defjvp
def _product_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    """So that the gradient of the weights is y' x, which is fast on CPU, not x' y, which is not."""
    (x, weights), (dx, d_weights) = primals, tangents
    by_weights = jnp.moveaxis(jax.lax.dot_general(d_weights.T, x, (((1,), (2,)), ((), ()))), 0, -1)
    return _product(x, weights), dx @ weights + by_weights


def _padding(size: int, kernel_size: int) -> tuple[int, int]:
    """Of padding "SAME" with stride 2."""
    total = max((-(-size // 2) - 1) * 2 + kernel_size - size, 0)
    return total // 2, total - total // 2


def _halve_by_patches(x: Image, kernel: Array) -> Image:
    size, (height, width) = kernel.shape[0], (-(-n // 2) for n in x.shape[:2])
    # Even and odd rows and columns as channels: then windows of stride 1 and of half the size.
    rows, columns = _padding(x.shape[0], size), _padding(x.shape[1], size)
    half = -(-size // 2)
    fill = lambda pads, n, out: (pads[0], max(2 * (out + half - 1) - n - pads[0], 0))
    x = jnp.pad(x, (fill(rows, x.shape[0], height), fill(columns, x.shape[1], width), (0, 0)))
    x = x[: 2 * (height + half - 1), : 2 * (width + half - 1)]
    phases = x.reshape(height + half - 1, 2, width + half - 1, 2, -1).transpose(0, 2, 1, 3, 4)
    phases = phases.reshape(*phases.shape[:2], -1)
    windows = [phases[i : i + height, j : j + width] for i in range(half) for j in range(half)]
    odd = 2 * half - size
    kernel = jnp.pad(kernel, ((0, odd), (0, odd), (0, 0), (0, 0)))
    kernel = kernel.reshape(half, 2, half, 2, *kernel.shape[2:]).transpose(0, 2, 1, 3, 4, 5)
    if phases.shape[-1] < 32:  # a product of few channels wastes time
        return _product(jnp.concatenate(windows, axis=-1), kernel.reshape(-1, kernel.shape[-1]))
    kernels = kernel.reshape(half * half, -1, kernel.shape[-1])
    if winograd.saves_products(phases, kernels):
        return winograd.convolve(phases, kernels)
    products = [_product(window, k) for window, k in zip(windows, kernels, strict=True)]
    return sum(products[1:], products[0])


def _halve_by_convolution(x: Image, kernel: Array) -> Image:
    layout = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(x[None], kernel, (2, 2), "SAME", dimension_numbers=layout)
    return y[0]


def _double_by_patches(x: Image, kernel: Array) -> Image:
    size, (height, width, _) = kernel.shape[0], x.shape
    before = size - 1 if size < 4 else -(-size // 2)  # padding "SAME" of a transposed convolution
    half = -(-size // 2)
    odd = 2 * half - size
    # What each pixel adds to its window of the larger image, whose rows and columns come in pairs.
    kernel = jnp.pad(kernel[::-1, ::-1], ((0, odd), (0, odd), (0, 0), (0, 0)))
    out = kernel.shape[-1]
    kernel = kernel.reshape(half, 2, half, 2, -1, out).transpose(0, 2, 4, 1, 3, 5)
    kernels = kernel.reshape(half * half, -1, 4 * out)
    padded = jnp.pad(x, ((1, 1), (1, 1), (0, 0)))
    if out >= 32 and winograd.saves_products(padded, kernels):
        total = winograd.convolve(padded, kernels[::-1])
    else:
        total = _add_windows(x, kernels, half)
    total = total.reshape(height + half - 1, width + half - 1, 2, 2, out)
    image = total.transpose(0, 2, 1, 3, 4)
    image = image.reshape(2 * (height + half - 1), 2 * (width + half - 1), out)
    first = size - 1 - before
    end = lambda n: first + 2 * n
    more = (max(end(height) - image.shape[0], 0), max(end(width) - image.shape[1], 0))
    image = jnp.pad(image, ((0, more[0]), (0, more[1]), (0, 0)))
    return image[first : end(height), first : end(width)]


def _add_windows(x: Image, kernels: Float[Array, "_ k n"], size: int) -> Image:
    """The sum of what all pixels add to windows of `size` rows and columns."""
    places = [(i, j) for i in range(size) for j in range(size)]
    out = kernels.shape[-1]
    if out < 128:  # a product of few channels wastes time
        added = _product(x, jnp.concatenate(list(kernels), axis=-1))
        parts = jax.lax.split(added, [out] * len(places), axis=-1)
    else:
        parts = [_product(x, k) for k in kernels]
    shifted = [
        jnp.pad(part, ((i, size - 1 - i), (j, size - 1 - j), (0, 0)))
        for part, (i, j) in zip(parts, places, strict=True)
    ]
    return sum(shifted[1:], shifted[0])


def _double_by_convolution(x: Image, kernel: Array) -> Image:
    layout = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_transpose(x[None], kernel, (2, 2), "SAME", dimension_numbers=layout)
    return y[0]
