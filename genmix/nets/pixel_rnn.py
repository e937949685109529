"""Recurrent network in which each pixel depends on all pixels before it, row by row."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PyTree

from genmix.nets import pixels
from genmix.nets.outputs import Redraw

Choose = Callable[[PyTree, Array], tuple[PyTree, Array]]
Image = Float[Array, "_ _ _"]  # height, width, channels


class DiagonalBiLSTM(nnx.Module):
    """PixelRNN of diagonal bidirectional LSTMs: any number of layers sees all pixels before.

    One LSTM runs to the right, the other to the left, both downwards; what the second says is moved
    down by a row. The image enters the first one moved to the right by a pixel. For a limited reach
    take `GatedPixelCNN` or `RowLSTM`; `families.InputDropout` hides pixels from those after them.

    Args:
        shape: height and width.
        width: channels of each LSTM.
        num_layers: layers, with residual connections.
        num_features: channels of the image; it and num_outputs are what a part asks for.
        num_outputs: outputs for each pixel.
        cond_size: entries of the condition, a vector or, per pixel, a map [height, width,
            cond_size]; 0 ignores the condition.

    Raises:
        ValueError: if a size is not positive.

    Source: van den Oord et al. (2016), arXiv:1601.06759, sections 3.2 and 3.3.
    """

    def __init__(
        self,
        shape: Sequence[int],
        width: int,
        num_layers: int,
        *,
        num_features: int = 1,
        num_outputs: int = 1,
        cond_size: int = 0,
        rngs: nnx.Rngs,
    ):
        pixels.require_sizes(
            self, shape, num_features=num_features, width=width, num_layers=num_layers,
            num_outputs=num_outputs, cond_size=cond_size,
        )  # fmt: skip
        self.shape, self.num_features, self.num_outputs = tuple(shape), num_features, num_outputs
        again = lambda sizes, rngs: DiagonalBiLSTM(
            shape, width, num_layers, num_features=sizes[0], num_outputs=sizes[1],
            cond_size=cond_size, rngs=rngs,
        )  # fmt: skip
        self.redraw = Redraw(again, rngs)
        self.width, self.cond_size = width, cond_size
        inputs = [num_features + 1] + [width] * (num_layers - 1)
        cells = lambda: nnx.List([DiagonalCell(size, width, rngs=rngs) for size in inputs])
        self.rightwards, self.leftwards = cells(), cells()
        self.contexts = nnx.List(pixels.contexts(cond_size, width, num_layers, rngs))
        self.hidden = nnx.Linear(width, width, rngs=rngs)
        self.out = nnx.Linear(width, num_outputs, rngs=rngs)
        self.redraw.noted(self)

    @property
    def cond_shapes(self) -> tuple[tuple[int, ...], ...]:
        return pixels.cond_shapes(self)

    def with_entries(self, num_features: int, num_outputs: int) -> "DiagonalBiLSTM":
        """The network of other sizes, from the same keys."""
        sizes = (num_features, num_outputs)
        is_same = sizes == (self.num_features, self.num_outputs)
        return self if is_same else self.redraw(sizes, self)

    def __call__(self, features: Image, cond: PyTree = None) -> Image:
        pixels.require_image(self, features)
        x = pixels.with_ones(features.astype(self.out.kernel.dtype))
        h = jnp.pad(x, ((0, 0), (1, 0), (0, 0)))[:, :-1]
        layers = zip(self.rightwards, self.leftwards, self._shifts(cond), strict=True)
        for i, (rightwards, leftwards, shift) in enumerate(layers):
            new = rightwards.over_image(rightwards.gates(h) + shift)
            other = leftwards.over_image(leftwards.gates(h if i else x)[:, ::-1])[:, ::-1]
            new = new + jnp.pad(other, ((1, 0), (0, 0), (0, 0)))[:-1]
            h = h + new if i else new
        return pixels.outputs(self, h)

    def generate(self, choose: Choose, inputs: PyTree, cond: PyTree = None) -> PyTree:
        """Visit the pixels row by row, at about the cost of one pass over the image.

        Args:
            choose: (inputs of the pixel, outputs of the pixel) -> (result, features).
            inputs: any arrays with first axes of height and width.

        Returns:
            The results, with first axes of height and width.
        """
        dtype, size = self.out.kernel.dtype, self.num_features + 1
        zero = jnp.zeros(self.width, dtype)
        rows = [jnp.zeros((self.shape[1], self.width), dtype)] * len(self.rightwards)

        def visit_row(carry: tuple, step: tuple) -> tuple[tuple, PyTree]:
            above, above_other = carry
            shifts, row_inputs = step
            start = (jnp.zeros(size, dtype), [(zero, zero)] * len(rows))
            row = (above, above_other, shifts, row_inputs)
            _, (x, seen, above, results) = jax.lax.scan(self._visit(choose), start, row)
            given = [x, *seen]
            gates = [cell.gates(h) for cell, h in zip(self.leftwards, given, strict=True)]

            def back(states: list, step: tuple) -> tuple[list, list]:
                cells = zip(self.leftwards, *step, states, strict=True)
                states = [cell.step(g, h, up, c) for cell, g, up, (h, c) in cells]
                return states, [h for h, _ in states]

            _, other = jax.lax.scan(
                back, [(zero, zero)] * len(rows), (gates, above_other), reverse=True
            )
            return (above, other), results

        shape = (*self.shape, 4 * self.width)
        shifts = [jnp.broadcast_to(shift, shape) for shift in self._shifts(cond)]
        return jax.lax.scan(visit_row, (rows, rows), (shifts, inputs))[1]

    def _visit(self, choose: Choose) -> Callable:
        """A step of a scan over the pixels of one row."""

        def visit(carry: tuple, step: tuple) -> tuple[tuple, tuple]:
            h, states = carry
            above, above_other, shifts, pixel_inputs = step
            layers = zip(self.rightwards, above, above_other, shifts, states, strict=True)
            new_states, seen = [], []
            for i, (cell, up, other, shift, (left, c)) in enumerate(layers):
                state = cell.step(cell.gates(h) + shift, left, up, c)
                h = h + state[0] + other if i else state[0] + other
                new_states.append(state)
                seen.append(h)
            result, features = choose(pixel_inputs, pixels.outputs(self, h))
            x = pixels.with_ones(features.astype(h.dtype))
            return (x, new_states), (x, seen[:-1], [h for h, _ in new_states], result)

        return visit

    def _shifts(self, cond: PyTree) -> list[Float[Array, "rows columns gates"]]:
        return pixels.shifts(self, self.contexts, len(self.rightwards), cond)


class DiagonalCell(nnx.Module):
    """LSTM whose state at a pixel comes from the pixel to its left and the one above."""

    def __init__(self, in_size: int, width: int, *, rngs: nnx.Rngs):
        self.width = width
        self.gates = nnx.Linear(in_size, 4 * width, rngs=rngs)
        self.left = nnx.Linear(width, 4 * width, use_bias=False, rngs=rngs)
        self.up = nnx.Linear(width, 4 * width, use_bias=False, rngs=rngs)

    def step(
        self,
        gates: Float[Array, "*pixels gates"],
        left: Float[Array, "*pixels width"],
        up: Float[Array, "*pixels width"],
        c: Float[Array, "*pixels width"],
    ) -> tuple[Array, Array]:
        """New output and cell, of both neighbours and the input."""
        return pixels.lstm(gates + self.left(left) + self.up(up), c)

    def over_image(self, gates: Image) -> Image:
        """Outputs at all pixels, a diagonal at a time."""
        height, width = gates.shape[:2]
        row, diagonal = np.arange(height), np.arange(height + width - 1)
        column = diagonal[:, None] - row
        inside = (column >= 0) & (column < width)
        skewed = gates[row[None], np.clip(column, 0, width - 1)]

        def visit(state: tuple[Array, Array], step: tuple) -> tuple:
            gates, inside = step
            h, c = state
            up = jnp.pad(h, ((1, 0), (0, 0)))[:-1]
            h, c = self.step(gates, h, up, c)
            # Before a row begins, its states are zero.
            state = (jnp.where(inside, h, 0), jnp.where(inside, c, 0))
            return state, state[0]

        zero = jnp.zeros((height, self.width), gates.dtype)
        _, h = jax.lax.scan(visit, (zero, zero), (skewed, inside[..., None]))
        return h[row[:, None] + np.arange(width), row[:, None]]
