"""Recurrent cells, their gates in one product, and their states along a sequence."""

from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, PyTree

from genmix.nets import pixels
from genmix.nets.joined import joined


@runtime_checkable
class Cell(Protocol):
    """One step of a recurrent network."""

    def initial(self) -> PyTree:
        """The state before the first step."""
        ...

    def __call__(self, state: PyTree, inputs: PyTree) -> PyTree: ...

    def output(self, state: PyTree) -> Float[Array, " width"]:
        """What other networks see of a state."""
        ...


class GRU(nnx.Module):
    """Gated recurrent unit; its inputs are any arrays, `in_size` entries together.

    Source: Cho et al. (2014), arXiv:1406.1078, section 2.3; the reset gate stands behind the
    product, as cuDNN has it, so that one product serves all three gates.
    """

    def __init__(self, in_size: int, width: int, *, rngs: nnx.Rngs):
        _require_sizes("GRU", in_size, width)
        self.width = width
        self.inputs = nnx.Linear(in_size, 3 * width, rngs=rngs)
        self.recurrent = nnx.Linear(width, 3 * width, rngs=rngs)

    def initial(self) -> Float[Array, " width"]:
        return jnp.zeros(self.width)

    def __call__(self, state: Float[Array, " width"], inputs: PyTree) -> Float[Array, " width"]:
        reset, keep, value = jnp.split(self.inputs(joined(inputs)), 3)
        old_reset, old_keep, old_value = jnp.split(self.recurrent(state), 3)
        keep = jax.nn.sigmoid(keep + old_keep)
        value = jnp.tanh(value + jax.nn.sigmoid(reset + old_reset) * old_value)
        return keep * state + (1 - keep) * value

    def output(self, state: Float[Array, " width"]) -> Float[Array, " width"]:
        return state


class LSTM(nnx.Module):
    """Long short-term memory; its inputs are any arrays, `in_size` entries together.

    Source: Hochreiter & Schmidhuber (1997), Neural Computation 9(8); forget gates, which start
    open (bias 1), as Gers et al. (2000) have them.
    """

    def __init__(self, in_size: int, width: int, *, rngs: nnx.Rngs):
        _require_sizes("LSTM", in_size, width)
        self.width = width
        self.gates = nnx.Linear(in_size + width, 4 * width, rngs=rngs)
        bias = jnp.zeros(4 * width, self.gates.kernel.dtype).at[width : 2 * width].set(1)
        self.gates.bias = nnx.Param(bias)

    def initial(self) -> tuple[Float[Array, " width"], Float[Array, " width"]]:
        zero = jnp.zeros(self.width)
        return zero, zero

    def __call__(self, state: tuple[Array, Array], inputs: PyTree) -> tuple[Array, Array]:
        h, c = state
        return pixels.lstm(self.gates(joined((inputs, h))), c)

    def output(self, state: tuple[Array, Array]) -> Float[Array, " width"]:
        return state[0]


def outputs(
    cell: Any, inputs: PyTree, mask: Bool[Array, " steps"], *, reverse: bool = False
) -> Float[Array, "steps width"]:
    """A cell's outputs at all steps of a sequence, whose padding it does not see.

    Args:
        inputs: along the first axis.
        reverse: from the last step of the data to the first.
    """

    def visit(state: PyTree, step: tuple[PyTree, Array]) -> tuple[PyTree, Array]:
        inputs, is_data = step
        new = cell(state, inputs)
        state = jax.tree.map(lambda a, b: jnp.where(is_data, a, b), new, state)
        return state, cell.output(state)

    return jax.lax.scan(visit, cell.initial(), (inputs, mask), reverse=reverse)[1]


def _require_sizes(name: str, in_size: int, width: int) -> None:
    if min(in_size, width) < 1:
        raise ValueError(f"{name} needs positive sizes, got in_size {in_size}, width {width}.")
