"""MADE for events drawn entry by entry, each of its units computed once."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PyTree

from genmix.nets.made import MADE

Choose = Callable[[PyTree, Array], tuple[PyTree, Array]]

_LARGEST_BLOCK = 32
_UNROLL = 4


class StepwiseMADE(nnx.Module):
    """A MADE whose entries can be asked for one after the other.

    A hidden unit is final as soon as the entries that it sees are known. `generate` computes it
    then, and no other, so that an event costs about one pass, where asking the whole network for
    each of d entries costs d.

    Source: Germain et al. (2015), arXiv:1502.03509, sections 3 and 4.
    """

    num_features = 1

    def __init__(self, made: MADE):
        self.made = made

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.made.dim,)

    @property
    def num_outputs(self) -> int:
        return self.made.num_outputs

    @property
    def cond_shapes(self) -> tuple[tuple[int, ...], ...]:
        return self.made.cond_shapes

    def with_entries(self, num_features: int, num_outputs: int) -> "StepwiseMADE":
        """The network of so many outputs.

        Raises:
            ValueError: if there are several features.
        """
        if num_features != 1:
            raise ValueError(
                f"StepwiseMADE takes an entry as one number, not as {num_features}: use NADE, or a "
                "record without one_hot."
            )
        made = self.made.with_outputs(self.shape, num_outputs)
        return self if made is self.made else StepwiseMADE(made)

    def __call__(
        self, features: Float[Array, "dim 1"], cond: PyTree = None
    ) -> Float[Array, "dim outputs"]:
        return self.made(features[:, 0], cond)

    def generate(self, choose: Choose, inputs: PyTree, cond: PyTree = None) -> PyTree:
        """Visit the entries in MADE's order.

        They are visited in blocks. What the entries before a block say to it is one product for
        each layer; only what the block says to itself is computed entry by entry. So the loop over
        entries reads little memory, which is what it would wait for.

        Args:
            choose: (inputs of the entry, outputs of the entry) -> (result, features [1]).
            inputs: any arrays with a first axis of the entries.

        Returns:
            The results, in the entries' own order.
        """
        made, order = self.made, np.array(self.made.order)
        num_blocks = -(-made.dim // _LARGEST_BLOCK)
        length = -(-made.dim // num_blocks)
        # The last block may be longer than what is left: it visits the last entry again.
        visited = np.pad(order, (0, num_blocks * length - made.dim), mode="edge")
        in_blocks = lambda a: a.reshape(num_blocks, length, *a.shape[1:])
        layers = self._layers(cond, num_blocks * length)
        dtype = made.out.kernel.dtype

        def visit_block(known: list[Array], step: tuple) -> tuple[list[Array], PyTree]:
            number, layers, block_inputs = step
            own = [jnp.zeros(len(values) // num_blocks, dtype) for values in known]
            first = [number * len(values) for values in own]
            given, kernels = [], []
            for kernels_below, bias in layers:
                given.append(sum((k @ known[i] for i, k in kernels_below.items()), bias))
                of_block = lambda i, k: jax.lax.dynamic_slice_in_dim(k, first[i], len(own[i]), -1)
                kernels.append({i: of_block(i, k) for i, k in kernels_below.items()})
            steps = (jnp.arange(length), given, kernels, block_inputs)
            own, results = jax.lax.scan(self._visit(choose), own, steps, unroll=_UNROLL)
            update = jax.lax.dynamic_update_slice_in_dim
            known = [update(a, b, i, 0) for a, b, i in zip(known, own, first, strict=True)]
            return known, results

        # Entries and units that are not known yet are zero, so that no mask is needed.
        units = [1, *(bias.shape[-1] for _, bias in layers[:-1])]
        known = [jnp.zeros(num_blocks * length * count, dtype) for count in units]
        of_entries = jax.tree.map(lambda a: in_blocks(a[visited]), inputs)
        steps = (jnp.arange(num_blocks), jax.tree.map(in_blocks, layers), of_entries)
        _, results = jax.lax.scan(visit_block, known, steps)
        back = np.argsort(order)
        return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[back], results)

    def _visit(self, choose: Choose) -> Callable:
        """A step of a scan over the entries of one block."""

        def visit(own: list[Array], step: tuple) -> tuple[list[Array], PyTree]:
            i, given, kernels, entry_inputs = step
            own = list(own)

            def outputs(bias: Array, kernels: dict[int, Array]) -> Array:
                return sum((kernel @ own[below] for below, kernel in kernels.items()), bias)

            *hidden, last = zip(given, kernels, strict=True)
            update = jax.lax.dynamic_update_slice_in_dim
            for layer, (bias, below) in enumerate(hidden, 1):
                units = self.made.activation(outputs(bias, below))
                own[layer] = update(own[layer], units, i * len(units), 0)
            result, features = choose(entry_inputs, outputs(*last))
            own[0] = own[0].at[i].set(features[0].astype(own[0].dtype))
            return own, result

        return visit

    def _layers(self, cond: PyTree, num_steps: int) -> list[tuple[dict[int, Array], Array]]:
        """Kernels and biases of what each step computes, with a first axis of the steps.

        Step k computes the units of degree k, in places k * b ... of their layer, where b is the
        largest number of units of one degree; a place without a unit has zero weights. A layer has
        a kernel [steps, units, places] for each that it sees; the entries, in the order in which
        they are visited, are layer 0.
        """
        made = self.made
        degrees = made.degrees()
        order = np.pad(made.order, (0, num_steps - made.dim), constant_values=made.dim)
        places = [order[:, None], *(_places(layer, num_steps) for layer in degrees[1:-1])]
        shift = None if made.context is None else made.context(made.checked(cond))
        biases = lambda layer, shift: layer.bias[...] + (0 if shift is None else shift)
        between = lambda kernel, rows, columns: _take(
            _take(kernel.T, columns, 0), rows.reshape(-1), -1
        )
        layers = []
        for i, layer in enumerate(made.hidden):
            bias = _take(biases(layer, shift if i == 0 else None), places[i + 1], 0)
            layers.append(({i: between(layer.kernel[...], places[i], places[i + 1])}, bias))
        outputs = order[:, None] + made.dim * np.arange(made.num_outputs)
        outputs[made.dim :] = made.dim * made.num_outputs
        last = len(made.hidden)
        kernels = {last: between(made.out.kernel[...], places[last], outputs)}
        if made.direct is not None:
            direct = between(made.direct.kernel[...], places[0], outputs)
            kernels[0] = kernels[0] + direct if last == 0 else direct
        bias = _take(biases(made.out, None if made.hidden else shift), outputs, 0)
        return [*layers, (kernels, bias)]


def _places(degrees: np.ndarray, num_steps: int) -> np.ndarray:
    """Units by degree, [steps, places]; where there is none, an index past the last one."""
    units = [np.flatnonzero(degrees == k) for k in range(num_steps)]
    width = max(len(u) for u in units)
    fill = lambda u: np.pad(u, (0, width - len(u)), constant_values=len(degrees))
    return np.stack([fill(u) for u in units])


def _take(a: Array, index: np.ndarray, axis: int) -> Array:
    return jnp.take(a, index, axis=axis, mode="fill", fill_value=0)
