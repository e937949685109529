"""What networks over the pixels of an image share: edges, conditions, convolutions, gates."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PyTree

Image = Float[Array, "_ _ _"]  # height, width, channels


def require_sizes(network: Any, shape: Sequence[int], *, cond_size: int = 0, **sizes: int) -> None:
    """Refuse a shape that is not (height, width), or a size that is not positive."""
    if len(shape) != 2 or min(*shape, *sizes.values(), cond_size + 1) < 1:
        got = ", ".join(
            f"{name} {size}" for name, size in (sizes | {"cond_size": cond_size}).items()
        )
        raise ValueError(
            f"{type(network).__name__} needs a height, a width and positive sizes, got shape "
            f"{tuple(shape)}, {got}."
        )


def require_odd(network: Any, **sizes: int) -> None:
    """Refuse the size of a kernel that has no middle."""
    if any(size < 1 or size % 2 == 0 for size in sizes.values()):
        got = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise ValueError(
            f"{type(network).__name__} needs odd kernel sizes of at least 1, got {got}."
        )


def require_image(network: Any, features: Array) -> None:
    """Refuse features that are not those of one image of the network."""
    expected = (*network.shape, network.num_features)
    if features.shape != expected:
        raise ValueError(
            f"{type(network).__name__} expects one image of shape {expected}, got "
            f"{features.shape}; for a batch use jax.vmap."
        )


def with_ones(x: Float[Array, "*pixels channels"]) -> Float[Array, "*pixels _"]:
    """One more channel, of ones: where padding has zeros, a network sees the image's edge."""
    return jnp.concatenate([x, jnp.ones((*x.shape[:-1], 1), x.dtype)], axis=-1)


def contexts(cond_size: int, width: int, num_layers: int, rngs: nnx.Rngs) -> list[nnx.Linear]:
    """From the condition to the four gates of each layer; empty where there is no condition."""
    layer = lambda: nnx.Linear(cond_size, 4 * width, rngs=rngs)
    return [layer() for _ in range(num_layers)] if cond_size else []


def outputs(network: Any, h: Float[Array, "*pixels width"]) -> Float[Array, "*pixels outputs"]:
    """What `network.hidden` and `network.out` make of the last layer's features."""
    return network.out(jax.nn.relu(network.hidden(jax.nn.relu(h))))


def cond_shapes(network: Any) -> tuple[tuple[int, ...], ...]:
    """A vector of the condition, or a map of them over the image."""
    size = network.cond_size
    return ((size,), (*network.shape, size)) if size else ()


def shifts(
    network: Any, contexts: Sequence[nnx.Linear], num_layers: int, cond: PyTree
) -> list[Float[Array, "rows columns gates"]]:
    """What the condition adds in each layer; one row and column if it is a vector or there is none.

    Raises:
        ValueError: if it is neither a vector of `network.cond_size` entries nor a map of them over
            `network.shape`.
    """
    dtype = network.out.kernel.dtype
    if not network.cond_size:
        return [jnp.zeros((1, 1, 1), dtype)] * num_layers
    allowed = cond_shapes(network)
    shape = getattr(cond, "shape", None)
    if shape not in allowed:
        got = type(cond).__name__ if shape is None else f"shape {shape}"
        raise ValueError(
            f"{type(network).__name__} needs a cond of shape {allowed[0]} or {allowed[1]}, got "
            f"{got}."
        )
    c = cond if len(shape) > 1 else cond[None, None]
    return [context(c).astype(dtype) for context in contexts]


def lstm(
    gates: Float[Array, "*pixels gates"], c: Float[Array, "*pixels width"]
) -> tuple[Float[Array, "*pixels width"], Float[Array, "*pixels width"]]:
    """Output and new cell of an LSTM; gates are to write, keep and show, and the value."""
    write, keep, show, value = jnp.split(gates, 4, axis=-1)
    c = jax.nn.sigmoid(keep) * c + jax.nn.sigmoid(write) * jnp.tanh(value)
    return jax.nn.sigmoid(show) * jnp.tanh(c), c


class Kernel(nnx.Module):
    """The kernel of a convolution, and its bias of zeros."""

    def __init__(
        self,
        in_size: int,
        out_size: int,
        kernel_size: int,
        *,
        kernel_init: nnx.Initializer,
        rngs: nnx.Rngs,
    ):
        shape = (kernel_size, kernel_size, in_size, out_size)
        self.kernel = nnx.Param(kernel_init(rngs.params(), shape, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(out_size, jnp.float32))


class Convolution(Kernel):
    """A convolution of odd size, with a bias; the image keeps its height and width."""

    def __call__(self, x: Image) -> Image:
        reach = self.kernel.shape[0] // 2
        padding = ((reach, reach), (reach, reach))
        return convolve(x, self.kernel[...], padding) + self.bias[...].reshape(1, 1, -1)


def convolve(x: Image, kernel: Array, padding: Sequence[tuple[int, int]]) -> Image:
    """Convolution with a kernel [rows, columns, in, out], of an image padded with zeros."""
    # Inside loops, where training runs, XLA's convolutions are ten times slower on CPU than this.
    return jax.lax.platform_dependent(
        jnp.pad(x, (*padding, (0, 0))), kernel, cpu=_multiply_patches, default=_convolve_padded
    )


def _multiply_patches(x: Image, kernel: Array) -> Image:
    rows, columns = kernel.shape[:2]
    height, width = x.shape[0] - rows + 1, x.shape[1] - columns + 1
    patches = [x[i : i + height, j : j + width] for i in range(rows) for j in range(columns)]
    return jnp.concatenate(patches, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])


def _convolve_padded(x: Image, kernel: Array) -> Image:
    layout = ("NHWC", "HWIO", "NHWC")
    batch = x[None]
    convolved = jax.lax.conv_general_dilated(
        batch, kernel, (1, 1), "VALID", dimension_numbers=layout
    )
    return convolved[0]
