"""Convolutional network in which each pixel depends on those before it, row by row."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PyTree

from genmix.nets import pixels
from genmix.nets.outputs import Redraw

Choose = Callable[[PyTree, Array], tuple[PyTree, Array]]
Image = Float[Array, "_ _ _"]  # height, width, channels


class GatedPixelCNN(nnx.Module):
    """Gated PixelCNN without a blind spot: a stack for the rows above, one for the pixels before.

    Both stacks take the image moved by a pixel, down or to the right, so that all their kernels may
    look at their own place. A pixel depends on every pixel before it that is at most `reach`
    columns and `reach + 1` rows away (to its left, `reach + 1` columns), and on no other: a small
    reach leaves the rest of the image to the condition. A channel of ones marks the image's edges.

    Args:
        shape: height and width.
        width: channels of each stack.
        num_layers: gated layers.
        num_features: channels of the image; it and num_outputs are what a part asks for.
        num_outputs: outputs for each pixel.
        kernel_size: of the layers, odd; `first_kernel_size` of the first one.
        cond_size: entries of the condition, a vector or, per pixel, a map [height, width,
            cond_size]; 0 ignores the condition.

    Raises:
        ValueError: if a size is not positive or a kernel's is even.

    Source: van den Oord et al. (2016), arXiv:1606.05328, sections 2.1 to 2.3.
    """

    def __init__(
        self,
        shape: Sequence[int],
        width: int,
        num_layers: int,
        *,
        num_features: int = 1,
        num_outputs: int = 1,
        kernel_size: int = 3,
        first_kernel_size: int = 7,
        cond_size: int = 0,
        rngs: nnx.Rngs,
    ):
        pixels.require_sizes(
            self, shape, num_features=num_features, width=width, num_layers=num_layers,
            num_outputs=num_outputs, cond_size=cond_size,
        )  # fmt: skip
        sizes = [first_kernel_size] + [kernel_size] * (num_layers - 1)
        pixels.require_odd(self, kernel_size=kernel_size, first_kernel_size=first_kernel_size)
        self.shape, self.num_features, self.num_outputs = tuple(shape), num_features, num_outputs
        again = lambda sizes, rngs: GatedPixelCNN(
            shape, width, num_layers, num_features=sizes[0], num_outputs=sizes[1],
            kernel_size=kernel_size, first_kernel_size=first_kernel_size,
            cond_size=cond_size, rngs=rngs,
        )  # fmt: skip
        self.redraw = Redraw(again, rngs)
        self.cond_size = cond_size
        self.layers = nnx.List(
            [
                GatedLayer(width if i else num_features + 1, width, size, rngs=rngs)
                for i, size in enumerate(sizes)
            ]
        )
        self.contexts = nnx.List(pixels.contexts(cond_size, width, num_layers, rngs))
        self.hidden = nnx.Linear(width, width, rngs=rngs)
        self.out = nnx.Linear(width, num_outputs, rngs=rngs)
        self.redraw.noted(self)

    @property
    def cond_shapes(self) -> tuple[tuple[int, ...], ...]:
        return pixels.cond_shapes(self)

    def with_entries(self, num_features: int, num_outputs: int) -> "GatedPixelCNN":
        """The network of other sizes, from the same keys."""
        sizes = (num_features, num_outputs)
        is_same = sizes == (self.num_features, self.num_outputs)
        return self if is_same else self.redraw(sizes, self)

    @property
    def reach(self) -> int:
        """Columns to either side that a pixel sees of the rows above."""
        return sum(layer.reach for layer in self.layers)

    def __call__(self, features: Image, cond: PyTree = None) -> Image:
        pixels.require_image(self, features)
        x = pixels.with_ones(features.astype(self.out.kernel.dtype))
        v = jnp.pad(x, ((1, 0), (0, 0), (0, 0)))[:-1]
        h = jnp.pad(x, ((0, 0), (1, 0), (0, 0)))[:, :-1]
        for layer, shift in zip(self.layers, self._shifts(cond), strict=True):
            v, from_above = layer.above(_pad_rows(v, layer.reach), shift)
            h = layer.beside(h, from_above)
        return pixels.outputs(self, h)

    def generate(self, choose: Choose, inputs: PyTree, cond: PyTree = None) -> PyTree:
        """Visit the pixels row by row, at about the cost of one pass over the image.

        The stack of rows above is computed once for each row, from the few rows of each layer that
        its convolutions reach; the other stack once for each pixel, from the few pixels before it.

        Args:
            choose: (inputs of the pixel, outputs of the pixel) -> (result, features).
            inputs: any arrays with first axes of height and width.

        Returns:
            The results, with first axes of height and width.
        """
        width, dtype = self.shape[1], self.out.kernel.dtype
        shifts = self._shifts(cond)
        empty = lambda *size: jnp.zeros(size, dtype)

        def visit_row(carry: tuple, step: tuple) -> tuple[tuple, PyTree]:
            v, rows_above = carry
            i, row_inputs = step
            from_above, kept = [], []
            for layer, shift, rows in zip(self.layers, shifts, rows_above, strict=True):
                window = jnp.concatenate([rows, v])
                row_shift = jax.lax.dynamic_slice_in_dim(shift, i, 1) if len(shift) > 1 else shift
                v, gates = layer.above(window, row_shift)
                from_above.append(gates[0])
                kept.append(window[1:])
            start = (empty(self.num_features + 1), [empty(*layer.before) for layer in self.layers])
            row = (from_above, row_inputs)
            _, (x, results) = jax.lax.scan(self._visit(choose), start, row)
            return (x[None], kept), results

        start = [empty(layer.reach, width, layer.in_size) for layer in self.layers]
        carry = (empty(1, width, self.num_features + 1), start)
        return jax.lax.scan(visit_row, carry, (jnp.arange(self.shape[0]), inputs))[1]

    def _visit(self, choose: Choose) -> Callable:
        """A step of a scan over the pixels of one row."""

        def visit(carry: tuple, step: tuple) -> tuple[tuple, tuple]:
            h, pixels_before = carry
            from_above, pixel_inputs = step
            kept = []
            for layer, before, gates in zip(self.layers, pixels_before, from_above, strict=True):
                window = jnp.concatenate([before, h[None]])
                h = layer.beside_pixel(window, gates)
                kept.append(window[1:])
            result, features = choose(pixel_inputs, pixels.outputs(self, h))
            x = pixels.with_ones(features.astype(h.dtype))
            return (x, kept), (x, result)

        return visit

    def _shifts(self, cond: PyTree) -> list[Float[Array, "rows columns gates"]]:
        return pixels.shifts(self, self.contexts, len(self.layers), cond)


class GatedLayer(nnx.Module):
    """One layer of both stacks; the rows above are seen by the other stack, not the reverse.

    Args:
        in_size: channels of both its inputs.
        size: of its kernels, odd.
    """

    def __init__(self, in_size: int, width: int, size: int, *, rngs: nnx.Rngs):
        self.reach, self.in_size = size // 2, in_size
        self.before = (self.reach, in_size)
        # Gates shrink what passes: he_normal keeps the scale of a deep stack.
        init = nnx.initializers.he_normal()
        kernel = lambda *shape: nnx.Param(
            init(rngs.params(), (*shape, in_size, 2 * width), jnp.float32)
        )
        self.vertical = kernel(self.reach + 1, size)
        self.horizontal = kernel(1, self.reach + 1)
        self.bias = nnx.Param(jnp.zeros(2 * width, jnp.float32))
        self.down = nnx.Linear(2 * width, 2 * width, rngs=rngs)
        self.mix = nnx.Linear(width, width, rngs=rngs)

    def above(self, rows: Image, shift: Image) -> tuple[Image, Image]:
        """Next vertical features, and what the other stack sees of them: gates before its own.

        Args:
            rows: those of the image and, in front, `reach` more.
        """
        gates = pixels.convolve(rows, self.vertical[...], ((0, 0), (self.reach, self.reach)))
        gates = gates + self.bias[...].reshape(1, 1, -1)
        # Without a condition, the shift is one zero.
        mine, other = (shift, shift) if shift.size == 1 else jnp.split(shift, 2, axis=-1)
        return _gate(gates + mine), self.down(gates) + other

    def beside(self, h: Image, from_above: Image) -> Image:
        """Next horizontal features."""
        gates = pixels.convolve(h, self.horizontal[...], ((0, 0), (self.reach, 0)))
        return self._residual(h, _gate(gates + from_above))

    def beside_pixel(
        self, window: Float[Array, "pixels channels"], from_above: Float[Array, " gates"]
    ) -> Float[Array, " width"]:
        """The same for one pixel, the last of the window."""
        kernel = self.horizontal[...].reshape(window.size, -1)
        return self._residual(window[-1], _gate(window.reshape(-1) @ kernel + from_above))

    def _residual(self, h: Float[Array, "*pixels _"], new: Float[Array, "*pixels width"]) -> Array:
        new = self.mix(new)
        return h + new if h.shape == new.shape else new


def _gate(gates: Float[Array, "*pixels gates"]) -> Float[Array, "*pixels width"]:
    a, b = jnp.split(gates, 2, axis=-1)
    return jnp.tanh(a) * jax.nn.sigmoid(b)


def _pad_rows(x: Image, count: int) -> Image:
    return jnp.pad(x, ((count, 0), (0, 0), (0, 0)))
