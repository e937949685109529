"""Convolution with 2 x 2 pixels in tiles, which need fewer products of matrices than windows.

Source: Winograd (1980), Arithmetic Complexity of Computations; Lavin & Gray (2016),
arXiv:1509.09308, section 4.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

from genmix.nets.pixels import Image


def saves_products(x: Image, kernels: Float[Array, "_ k n"]) -> bool:
    """Whether tiles need at most three quarters of the products of windows, and are as precise.

    Operands of one kind, float32 or float64, are: sums of others would be rounded, or wrap around.
    """
    height, width = x.shape[0] - 1, x.shape[1] - 1
    is_precise = x.dtype == kernels.dtype and x.dtype in (jnp.float32, jnp.float64)
    are_many = min(kernels.shape[1:]) >= 32  # between few channels, making tiles takes longer
    is_known = isinstance(height * width, int)  # not so in programs exported for any size
    if not (len(kernels) == 4 and is_precise and are_many and is_known):
        return False
    return 25 * -(-height // 4) * -(-width // 4) <= 3 * height * width


@functools.cache
def _tile_matrices() -> dict[str, np.ndarray]:
    """Of y = outputs @ ((kernel @ k) * (pixels @ x)): 4 x 4 outputs of 5 x 5 pixels.

    Along one axis, from Toom and Cook: take two polynomials, of coefficients d and k, at five
    points (the last is infinity), multiply, and interpolate. That convolves k with d, and its
    adjoint, as a map of d, is what a row of a tile needs.
    """
    points = [0.0, -1.0, 0.5, 2.0]  # rounding errors are a third smaller than with 0, 1, -1, 2
    at_points = lambda size: np.vstack([np.vander(points, size, increasing=True), np.eye(size)[-1]])
    matrices = {
        "outputs": at_points(4).T,
        "kernel": at_points(2),
        "pixels": np.linalg.inv(at_points(5)).T,
    }
    return {name: np.kron(matrix, matrix) for name, matrix in matrices.items()}


def convolve(x: Image, kernels: Float[Array, "4 k n"]) -> Image:
    """Convolution with 2 x 2 pixels, without padding: 25 products for 16 outputs instead of 64.

    In float32 its error is some 1e-6 of the largest values of a tile, four times that of the 64
    products beside values alike. What is not finite spoils the whole tile.
    """
    _, in_size, out = kernels.shape
    height, width = x.shape[0] - 1, x.shape[1] - 1
    down, across = -(-height // 4), -(-width // 4)
    # Tiles of 5 x 5 pixels, each with a row and a column of the next.
    x = jnp.pad(x, ((0, 4 * down + 3 - height), (0, 4 * across + 3 - width), (0, 0)))
    x = x.reshape(down + 1, 4, across + 1, 4, in_size)
    x = jnp.concatenate([x[:-1], x[1:, :1]], axis=1)
    x = jnp.concatenate([x[:, :, :-1], x[:, :, 1:, :1]], axis=3)
    tiles = x.transpose(1, 3, 0, 2, 4).reshape(25, down * across, in_size)
    factors = _mix(tiles, "pixels"), _mix(kernels.transpose(0, 2, 1), "kernel")
    products = jnp.einsum("ptk,pnk->ptn", *factors)
    y = _mix(products, "outputs").reshape(4, 4, down, across, out)
    return y.transpose(2, 0, 3, 1, 4).reshape(4 * down, 4 * across, out)[:height, :width]


def _mix(x: Float[Array, "_ ..."], name: str) -> Float[Array, "_ ..."]:
    """Multiply the first axis by the matrix of this name.

    A primitive, so that under `jax.vmap` it and its gradient stay products of two matrices with the
    small one to the left; what XLA makes of an einsum's gradient is several times slower on CPU.
    """
    return _mix_p.bind(x, name=name, is_transposed=False)


def _multiply(x: Array, *, name: str, is_transposed: bool) -> Array:
    matrix = _tile_matrices()[name].T if is_transposed else _tile_matrices()[name]
    y = jnp.asarray(matrix, x.dtype) @ x.reshape(len(x), math.prod(x.shape[1:]))
    return y.reshape(len(y), *x.shape[1:])


def _mixed_shape(x: Any, *, name: str, is_transposed: bool) -> Any:
    return x.update(shape=(_tile_matrices()[name].shape[is_transposed], *x.shape[1:]))


def _mix_batch(args: Any, axes: Any, **parameters: Any) -> tuple[Array, int]:
    return _mix_p.bind(jnp.moveaxis(args[0], axes[0], 1), **parameters), 1


def _mix_transpose(cotangent: Array, _: Any, *, name: str, is_transposed: bool) -> list[Array]:
    return [_mix_p.bind(cotangent, name=name, is_transposed=not is_transposed)]


_mix_p = Primitive("mix")
_mix_p.def_impl(jax.jit(_multiply, static_argnames=("name", "is_transposed")))
_mix_p.def_abstract_eval(_mixed_shape)
mlir.register_lowering(_mix_p, mlir.lower_fun(_multiply, multiple_results=False))
batching.primitive_batchers[_mix_p] = _mix_batch
ad.deflinear2(_mix_p, _mix_transpose)
