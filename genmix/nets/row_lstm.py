"""Recurrent network down an image in which each pixel depends on a triangle of those before it."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PyTree

from genmix.nets import pixels
from genmix.nets.outputs import Redraw

Choose = Callable[[PyTree, Array], tuple[PyTree, Array]]
Image = Float[Array, "_ _ _"]  # height, width, channels


class RowLSTM(nnx.Module):
    """PixelRNN of row LSTMs: a row's states come from the row above, all columns at once.

    A convolution over the pixels before comes first, then LSTMs that run down the image: at a pixel
    each has its input there and up to r pixels to the left, and its states of the row above up to r
    columns away, where the kernel size is 2 r + 1. So a pixel does not see all pixels before it,
    but a triangle. With a first kernel of size 2 R + 1 and L layers it sees the R + L r pixels to
    its left and, d rows above, those from R + (L + d) r columns to the left to
    max(R + (d - 1) r, d r - 1) columns to the right; no others.

    Args:
        shape: height and width.
        width: channels of the convolution and of each LSTM.
        num_layers: LSTMs, with residual connections.
        num_features: channels of the image; it and num_outputs are what a part asks for.
        num_outputs: outputs for each pixel.
        kernel_size: of the LSTMs, odd; `first_kernel_size` of the convolution, at least 3.
        cond_size: entries of the condition, a vector or, per pixel, a map [height, width,
            cond_size]; 0 ignores the condition.

    Raises:
        ValueError: if a size is not positive, or a kernel's is even or too small.

    Source: van den Oord et al. (2016), arXiv:1601.06759, section 3.1.
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
        pixels.require_odd(self, kernel_size=kernel_size, first_kernel_size=first_kernel_size)
        if first_kernel_size < 3:
            raise ValueError(
                f"RowLSTM needs a first_kernel_size of at least 3, got {first_kernel_size}: with a "
                "smaller one no pixel would see another."
            )
        self.shape, self.num_features, self.num_outputs = tuple(shape), num_features, num_outputs
        again = lambda sizes, rngs: RowLSTM(
            shape, width, num_layers, num_features=sizes[0], num_outputs=sizes[1],
            kernel_size=kernel_size, first_kernel_size=first_kernel_size,
            cond_size=cond_size, rngs=rngs,
        )  # fmt: skip
        self.redraw = Redraw(again, rngs)
        self.cond_size = cond_size
        self.first = PixelsBefore(num_features + 1, width, first_kernel_size // 2, rngs=rngs)
        self.cells = nnx.List(
            [RowCell(width, kernel_size // 2, rngs=rngs) for _ in range(num_layers)]
        )
        self.contexts = nnx.List(pixels.contexts(cond_size, width, num_layers, rngs))
        self.hidden = nnx.Linear(width, width, rngs=rngs)
        self.out = nnx.Linear(width, num_outputs, rngs=rngs)
        self.redraw.noted(self)

    @property
    def cond_shapes(self) -> tuple[tuple[int, ...], ...]:
        return pixels.cond_shapes(self)

    def with_entries(self, num_features: int, num_outputs: int) -> "RowLSTM":
        """The network of other sizes, from the same keys."""
        sizes = (num_features, num_outputs)
        is_same = sizes == (self.num_features, self.num_outputs)
        return self if is_same else self.redraw(sizes, self)

    def __call__(self, features: Image, cond: PyTree = None) -> Image:
        pixels.require_image(self, features)
        x = pixels.with_ones(features.astype(self.out.kernel.dtype))
        reach = self.first.reach
        above = jnp.pad(x, ((reach, 0), (0, 0), (0, 0)))[:-1]
        h = self.first.rows(above) + self.first.row(x)
        for cell, shift in zip(self.cells, self._shifts(cond), strict=True):
            h = h + cell.over_image(cell.inputs(h) + shift)
        return pixels.outputs(self, h)

    def generate(self, choose: Choose, inputs: PyTree, cond: PyTree = None) -> PyTree:
        """Visit the pixels row by row, at about the cost of one pass over the image.

        What the rows above say is computed once for each row.

        Args:
            choose: (inputs of the pixel, outputs of the pixel) -> (result, features).
            inputs: any arrays with first axes of height and width.

        Returns:
            The results, with first axes of height and width.
        """
        (height, columns), dtype = self.shape, self.out.kernel.dtype
        empty = lambda *size: jnp.zeros(size, dtype)
        size, width, reach = self.num_features + 1, self.hidden.in_features, self.first.reach

        def visit_row(carry: tuple, step: tuple) -> tuple[tuple, PyTree]:
            rows, states = carry
            shifts, row_inputs = step
            gates = [
                cell.from_above(h) + shift
                for cell, shift, (h, _) in zip(self.cells, shifts, states, strict=True)
            ]
            row = (self.first.rows(rows)[0], gates, [c for _, c in states], row_inputs)
            start = (empty(reach, size), [empty(cell.reach, width) for cell in self.cells])
            _, (x, states, results) = jax.lax.scan(self._visit(choose), start, row)
            return (jnp.concatenate([rows[1:], x[None]]), states), results

        shape = (height, columns, 4 * width)
        shifts = [jnp.broadcast_to(shift, shape) for shift in self._shifts(cond)]
        start = [(empty(columns, width), empty(columns, width)) for _ in self.cells]
        carry = (empty(reach, columns, size), start)
        return jax.lax.scan(visit_row, carry, (shifts, inputs))[1]

    def _visit(self, choose: Choose) -> Callable:
        """A step of a scan over the pixels of one row."""

        def visit(carry: tuple, step: tuple) -> tuple[tuple, tuple]:
            before, inputs_before = carry
            above, gates, cells_above, pixel_inputs = step
            h = above + self.first.pixel(before)
            layers = zip(self.cells, inputs_before, gates, cells_above, strict=True)
            kept, states = [], []
            for cell, window, from_above, c in layers:
                window = jnp.concatenate([window, h[None]])
                states.append(pixels.lstm(cell.inputs_of_pixel(window) + from_above, c))
                kept.append(window[1:])
                h = h + states[-1][0]
            result, features = choose(pixel_inputs, pixels.outputs(self, h))
            x = pixels.with_ones(features.astype(h.dtype))
            return (jnp.concatenate([before[1:], x[None]]), kept), (x, states, result)

        return visit

    def _shifts(self, cond: PyTree) -> list[Float[Array, "rows columns gates"]]:
        return pixels.shifts(self, self.contexts, len(self.cells), cond)


class PixelsBefore(nnx.Module):
    """Convolution whose kernel ends before its own place: the paper's mask A."""

    def __init__(self, in_size: int, width: int, reach: int, *, rngs: nnx.Rngs):
        self.reach = reach
        self.above = _kernel(rngs, reach, 2 * reach + 1, in_size, width)
        self.before = _kernel(rngs, 1, reach, in_size, width)
        self.bias = nnx.Param(jnp.zeros(width, jnp.float32))

    def rows(self, rows: Image) -> Image:
        """What is seen of the rows above; `rows` has `reach` in front of the first, none after."""
        padding = ((0, 0), (self.reach, self.reach))
        return pixels.convolve(rows, self.above[...], padding) + self.bias[...].reshape(1, 1, -1)

    def row(self, x: Image) -> Image:
        """What is seen of the pixels to the left."""
        return pixels.convolve(x[:, :-1], self.before[...], ((0, 0), (self.reach, 0)))

    def pixel(self, before: Float[Array, "reach channels"]) -> Float[Array, " width"]:
        """The same for one pixel, given those to its left."""
        return before.reshape(-1) @ self.before[...].reshape(before.size, -1)


class RowCell(nnx.Module):
    """LSTM down an image; its gates see inputs to the left and states of the row above."""

    def __init__(self, width: int, reach: int, *, rngs: nnx.Rngs):
        self.reach = reach
        self.left = _kernel(rngs, 1, reach + 1, width, 4 * width)
        self.up = _kernel(rngs, 1, 2 * reach + 1, width, 4 * width)
        self.bias = nnx.Param(jnp.zeros(4 * width, jnp.float32))

    def inputs(self, h: Image) -> Image:
        """The inputs' part of the gates."""
        gates = pixels.convolve(h, self.left[...], ((0, 0), (self.reach, 0)))
        return gates + self.bias[...].reshape(1, 1, -1)

    def inputs_of_pixel(self, window: Float[Array, "pixels width"]) -> Float[Array, " gates"]:
        """The same for one pixel, the last of the window."""
        return window.reshape(-1) @ self.left[...].reshape(window.size, -1) + self.bias[...]

    def from_above(self, h: Float[Array, "columns width"]) -> Float[Array, "columns gates"]:
        """The states' part of the gates, given the row above."""
        return pixels.convolve(h[None], self.up[...], ((0, 0), (self.reach, self.reach)))[0]

    def over_image(self, gates: Image) -> Image:
        """Outputs at all pixels, a row at a time."""

        def visit(state: tuple[Array, Array], gates: Array) -> tuple[tuple[Array, Array], Array]:
            h, c = state
            state = pixels.lstm(gates + self.from_above(h), c)
            return state, state[0]

        zero = jnp.zeros((gates.shape[1], gates.shape[2] // 4), gates.dtype)
        return jax.lax.scan(visit, (zero, zero), gates)[1]


def _kernel(rngs: nnx.Rngs, *shape: int) -> nnx.Param:
    return nnx.Param(nnx.initializers.lecun_normal()(rngs.params(), shape, jnp.float32))
