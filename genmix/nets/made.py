"""Masked network in which each output depends on the inputs before it."""

import itertools
from collections.abc import Callable, Sequence
from typing import TypeVar

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, PyTree

from genmix.nets import one_event, state
from genmix.nets.outputs import Redraw

T = TypeVar("T")
Vector = Float[Array, " _"]


class MADE(nnx.Module):
    """Fully connected network whose outputs for entry i see the entries before i, and no others.

    Every entry before i reaches i, for any order: every degree occurs in every hidden layer. All
    outputs, the first entry's too, see the whole condition. Without hidden layers the network is
    linear. Output weights start at a tenth of their usual size, so that a flow made of it starts
    near its identity. The last layer has the first output of all entries before the second: what
    works entry by entry then reads memory in order. As a likelihood, `families.InputDropout` hides
    entries from those after them, and `families.mask_sampling` trains many masks at once.

    Args:
        dim: entries of the event.
        hidden: widths of the hidden layers.
        num_outputs: outputs for each entry; a part asks for as many as it needs.
        cond_size: entries of the condition, a vector; 0 ignores the condition.
        order: order[k] is the entry that comes k-th; 0, 1, ... by default.
        activation: between the layers.
        direct: adds a linear layer from the inputs to the outputs, so that hidden layers may be
            narrower than the event.

    Raises:
        ValueError: if a size is not positive, the order is no permutation, or a hidden layer is too
            narrow to carry every dependence.

    Source: Germain et al. (2015), arXiv:1502.03509, sections 3 and 4.
    """

    def __init__(
        self,
        dim: int,
        hidden: Sequence[int],
        num_outputs: int = 1,
        *,
        cond_size: int = 0,
        order: Sequence[int] | None = None,
        activation: Callable[[Array], Array] = jax.nn.relu,
        direct: bool = False,
        rngs: nnx.Rngs,
    ):
        if min(dim, num_outputs, *hidden, cond_size + 1) < 1:
            raise ValueError(
                f"MADE needs positive sizes, got dim {dim}, hidden {tuple(hidden)}, num_outputs "
                f"{num_outputs}, cond_size {cond_size}."
            )
        self.order = tuple(range(dim)) if order is None else tuple(int(i) for i in order)
        if sorted(self.order) != list(range(dim)):
            raise ValueError(f"order must hold 0, 1, ..., {dim - 1} once each, got {self.order}.")
        # Degree 0 sees the condition alone.
        self.lowest = 1 if dim > 1 and not cond_size else 0
        if min(hidden, default=dim) < dim - self.lowest and not direct:
            raise ValueError(
                f"MADE over {dim} entries needs hidden layers of at least {dim - self.lowest} "
                f"units to carry every dependence, got {tuple(hidden)}: widen them, or add the "
                "direct layer (direct=True)."
            )
        self.dim, self.num_outputs, self.cond_size = dim, num_outputs, cond_size
        self.activation = activation
        again = lambda num_outputs, rngs: MADE(
            dim, hidden, num_outputs, cond_size=cond_size, order=order, activation=activation,
            direct=direct, rngs=rngs,
        )  # fmt: skip
        self.redraw = Redraw(again, rngs)
        widths = [dim, *hidden, dim * num_outputs]
        glorot = nnx.initializers.glorot_uniform()
        small = nnx.initializers.variance_scaling(0.01, "fan_avg", "uniform")
        layer = lambda a, b, init, bias: nnx.Linear(
            a, b, kernel_init=init, use_bias=bias, rngs=rngs
        )
        self.hidden = nnx.List([layer(a, b, glorot, True) for a, b in _pairs(widths[:-1])])
        self.out = layer(widths[-2], widths[-1], small, True)
        self.direct = layer(dim, widths[-1], small, False) if direct else None
        self.context = layer(cond_size, widths[1], glorot, False) if cond_size else None
        self.redraw.noted(self)

    @property
    def out_shape(self) -> tuple[int, ...]:
        return (self.dim,)

    @property
    def cond_shapes(self) -> tuple[tuple[int, ...], ...]:
        return ((self.cond_size,),) if self.cond_size else ()

    def with_outputs(self, shape: tuple[int, ...], num_outputs: int) -> "MADE":
        """The network that gives [*shape, num_outputs], from the same keys.

        Raises:
            ValueError: if the shape is another than (dim,).
        """
        if shape != self.out_shape:
            raise ValueError(
                f"MADE gives outputs for {self.dim} entries, not for an event of shape {shape}."
            )
        return self if num_outputs == self.num_outputs else self.redraw(num_outputs, self)

    def __call__(self, x: Vector, cond: PyTree = None) -> Float[Array, "dim num_outputs"]:
        return self.given(cond)(x)

    def given(self, cond: PyTree = None) -> Callable[[Vector], Float[Array, "dim num_outputs"]]:
        """The network at a condition, with its weights masked once for many calls.

        Raises:
            ValueError: if the condition is no vector of cond_size entries.
        """
        inputs, *between, outputs = self.degrees()
        mask = lambda layer, mask: (layer.kernel[...] * mask, layer.bias[...])
        masked = [
            mask(layer, a[:, None] <= b)
            for layer, a, b in zip(self.hidden, [inputs, *between], between, strict=False)
        ]
        last = between[-1] if between else inputs
        masked.append(mask(self.out, last[:, None] < outputs))
        if self.context is not None:
            kernel, bias = masked[0]
            masked[0] = (kernel, bias + self.context(self.checked(cond)))
        direct = self.direct
        skip = None if direct is None else direct.kernel[...] * (inputs[:, None] < outputs)

        def network(x: Vector) -> Array:
            one_event.require(self, x, (self.dim,))
            h = x
            for kernel, bias in masked[:-1]:
                h = self.activation(h @ kernel + bias)
            kernel, bias = masked[-1]
            out = h @ kernel + bias
            return (out if skip is None else out + x @ skip).reshape(-1, self.dim).T

        return network

    def degrees(self) -> list[np.ndarray]:
        """Degrees of the units of each layer: a unit sees inputs of its degree or less."""
        inputs = np.empty(self.dim, int)
        inputs[list(self.order)] = np.arange(1, self.dim + 1)
        count = max(self.dim - self.lowest, 1)
        hidden = [
            self.lowest + np.arange(layer.out_features) * count // layer.out_features
            for layer in self.hidden
        ]
        return [inputs, *hidden, np.tile(inputs, self.num_outputs)]

    def rearranged(self, places: Sequence[Int[Array, " _"]]) -> "MADE":
        """The network in which unit k of layer l has the weights of unit `places[l][k]` here.

        The masks stay where they are, so that the same weights have others. Inputs are layer 0, and
        entries change places among the outputs as they do there.
        """
        made = state.fresh(self)
        outputs = places[0][None] + self.dim * np.arange(self.num_outputs)[:, None]
        layers = [*places, outputs.reshape(-1)]
        for layer, (rows, columns) in zip([*made.hidden, made.out], _pairs(layers), strict=True):
            _rearrange(layer, rows, columns)
        _rearrange(made.direct, layers[0], layers[-1])
        _rearrange(made.context, slice(None), layers[1])
        return made

    def checked(self, cond: PyTree) -> Vector:
        shape = getattr(cond, "shape", None)
        if shape != (self.cond_size,):
            got = type(cond).__name__ if shape is None else f"shape {shape}"
            raise ValueError(f"MADE needs a cond of shape ({self.cond_size},), got {got}.")
        return cond


def _pairs(layers: Sequence[T]) -> list[tuple[T, T]]:
    return list(itertools.pairwise(layers))


def _rearrange(layer: nnx.Linear | None, rows: Array | slice, columns: Array) -> None:
    if layer is None:
        return
    layer.kernel[...] = layer.kernel[rows][:, columns]
    if layer.bias is not None:
        layer.bias[...] = layer.bias[columns]
