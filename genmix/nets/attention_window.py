"""What a recurrent network reads of an image, and writes on a canvas: all of it, or a window.

Source: Gregor et al. (2015), arXiv:1502.04623, section 3.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from genmix.nets.pixels import Image

Hidden = Float[Array, " hidden"]


def filters(
    centre: Float[Array, ""],
    spacing: Float[Array, ""],
    deviation: Float[Array, ""],
    size: int,
    side: int,
) -> Float[Array, "size side"]:
    """A row of Gaussian weights over an axis of the image for each entry of a window.

    Each row sums to one; that of a middle outside the image has the border's pixel. Places are
    counted from 0, in pixels.
    """
    middles = centre + (jnp.arange(size) - size / 2 + 0.5) * spacing
    squares = ((jnp.arange(side)[None] - middles[:, None]) / deviation) ** 2
    return jax.nn.softmax(-squares / 2, axis=1)


class Window(nnx.Module):
    """A grid of size x size Gaussian filters, its place, scale and strength told by a vector.

    The grid's middle is at (side + 1) / 2 (g + 1) - 1 of an axis, and its filters are
    (longest side - 1) / (size - 1) exp(.) apart, so that at zeros it is the whole image's.

    Args:
        hidden: entries of the vector.
        shape: [height, width, channels] of the image.
        size: filters along each axis, at least 2.
    """

    def __init__(self, hidden: int, shape: Sequence[int], size: int, *, rngs: nnx.Rngs):
        if len(shape) != 3 or min(*shape, hidden) < 1 or size < 2:
            raise ValueError(
                "a window needs images [height, width, channels], positive sizes and at least 2 "
                f"filters an axis, got shape {tuple(shape)}, hidden {hidden}, size {size}."
            )
        self.shape, self.size = tuple(shape), size
        self.told = nnx.Linear(hidden, 5, rngs=rngs)

    def of(
        self, h: Hidden
    ) -> tuple[Float[Array, "size height"], Float[Array, "size width"], Float[Array, ""]]:
        """Filters over rows and columns, and the strength."""
        x, y, log_variance, log_spacing, log_strength = self.told(h)
        height, width, _ = self.shape
        spacing = (max(height, width) - 1) / (self.size - 1) * jnp.exp(log_spacing)
        deviation = jnp.exp(log_variance / 2)
        centre = lambda g, side: (side + 1) / 2 * (g + 1) - 1
        rows = filters(centre(y, height), spacing, deviation, self.size, height)
        columns = filters(centre(x, width), spacing, deviation, self.size, width)
        return rows, columns, jnp.exp(log_strength)


class Read(nnx.Module):
    """(image, rest of it, h) -> all entries of both; without a window h is not looked at."""

    def __init__(self, window: Window | None = None):
        self.window = window

    def out_size(self, shape: Sequence[int]) -> int:
        """How many numbers it gives."""
        size = math.prod(shape) if self.window is None else self.window.size**2 * shape[-1]
        return 2 * size

    def __call__(self, x: Image, rest: Image, h: Hidden) -> Float[Array, " out"]:
        both = jnp.concatenate([x, rest], axis=-1)
        if self.window is None:
            return both.reshape(-1)
        rows, columns, strength = self.window.of(h)
        return strength * jnp.einsum("ia,abc,jb->ijc", rows, both, columns).reshape(-1)


class Write(nnx.Module):
    """h -> what is added to the canvas."""

    def __init__(
        self,
        hidden: int,
        shape: Sequence[int],
        window: Window | None = None,
        *,
        rngs: nnx.Rngs,
    ):
        self.shape, self.window = tuple(shape), window
        size = math.prod(shape) if window is None else window.size**2 * shape[-1]
        self.patch = nnx.Linear(hidden, size, rngs=rngs)

    def __call__(self, h: Hidden) -> Image:
        if self.window is None:
            return self.patch(h).reshape(self.shape)
        rows, columns, strength = self.window.of(h)
        patch = self.patch(h).reshape(self.window.size, self.window.size, -1)
        return jnp.einsum("ia,ijc,jb->abc", rows, patch, columns) / strength
