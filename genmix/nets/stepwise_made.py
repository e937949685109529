"""MADE for events drawn entry by entry, each of its units computed once."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PyTree

from genmix.nets.made import MADE

Choose = Callable[[PyTree, Array], tuple[PyTree, Array]]


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

    def __call__(
        self, features: Float[Array, "dim 1"], cond: PyTree = None
    ) -> Float[Array, "dim outputs"]:
        return self.made(features[:, 0], cond)

    def generate(self, choose: Choose, inputs: PyTree, cond: PyTree = None) -> PyTree:
        """Visit the entries in MADE's order.

        Args:
            choose: (inputs of the entry, outputs of the entry) -> (result, features [1]).
            inputs: any arrays with a first axis of the entries.

        Returns:
            The results, in the entries' own order.
        """
        made, order = self.made, np.array(self.made.order)
        steps, direct, bias = self._steps(cond)
        dtype = made.out.kernel.dtype

        def visit(known: list[Array], step: tuple) -> tuple[list[Array], PyTree]:
            entry, k, layers, (kernel, bias), skip, entry_inputs = step
            x, *hidden = known
            for i, (layer_kernel, layer_bias) in enumerate(layers):
                below = x if i == 0 else hidden[i - 1].reshape(-1)
                hidden[i] = hidden[i].at[k].set(made.activation(layer_kernel @ below + layer_bias))
            out = (hidden[-1].reshape(-1) if hidden else x) @ kernel + bias
            out = out if skip is None else out + x @ skip
            result, features = choose(entry_inputs, out)
            return [x.at[entry].set(features[0].astype(dtype)), *hidden], result

        # Entries and units that are not known yet are zero, so that no mask is needed.
        known = [jnp.zeros(made.dim, dtype)]
        known += [jnp.zeros(layer_bias.shape, dtype) for _, layer_bias in steps]
        of_entries = jax.tree.map(lambda a: a[order], inputs)
        xs = (order, np.arange(made.dim), steps, bias, direct, of_entries)
        _, results = jax.lax.scan(visit, known, xs)
        return jax.tree.map(lambda a: a[np.argsort(order)], results)

    def _steps(self, cond: PyTree) -> tuple:
        """Kernels and biases of what each step computes, with a first axis of the steps.

        Step k computes the units of degree k, in places k * b ... of their layer, where b is the
        largest number of units of one degree; a place without a unit has zero weights.
        """
        made = self.made
        degrees = made.degrees()
        places = [_places(layer, made.dim) for layer in degrees[1:-1]]
        rows = None  # all inputs, in their own order
        shift = None if made.context is None else made.context(made.checked(cond))
        biases = lambda layer, shift: layer.bias[...] + (0 if shift is None else shift)
        steps = []
        for layer, place in zip(made.hidden, places, strict=True):
            bias = biases(layer, shift)
            kernel = layer.kernel[...] if rows is None else _take(layer.kernel[...], rows, 0)
            steps.append((_take(kernel.T, place, 0), _take(bias, place, 0)))
            rows, shift = place.reshape(-1), None
        columns = np.array(made.order)[:, None] + made.dim * np.arange(made.num_outputs)
        by_step = lambda kernel: jnp.moveaxis(kernel[:, columns], 1, 0)
        kernel = made.out.kernel[...]
        kernel = by_step(kernel if rows is None else _take(kernel, rows, 0))
        skip = None if made.direct is None else by_step(made.direct.kernel[...])
        return steps, skip, (kernel, biases(made.out, shift)[columns])


def _places(degrees: np.ndarray, num_steps: int) -> np.ndarray:
    """Units by degree, [steps, places]; where there is none, an index past the last one."""
    units = [np.flatnonzero(degrees == k) for k in range(num_steps)]
    width = max(len(u) for u in units)
    fill = lambda u: np.pad(u, (0, width - len(u)), constant_values=len(degrees))
    return np.stack([fill(u) for u in units])


def _take(a: Array, index: np.ndarray, axis: int) -> Array:
    return jnp.take(a, index, axis=axis, mode="fill", fill_value=0)
