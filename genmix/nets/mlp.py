"""Fully connected network."""

import itertools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from genmix.nets import one_event
from genmix.nets.outputs import Redraw, replaced

Shape = int | Sequence[int]


def _shape(shape: Shape) -> tuple[int, ...]:
    return (shape,) if isinstance(shape, int) else tuple(shape)


class MLP(nnx.Module):
    """Hidden layers of the given widths between two arrays of any shape, for one event.

    Weights start as Glorot and Bengio (2010) have them, biases at zero.

    Args:
        num_outputs: outputs of each entry, on an axis behind those of out_shape, such as the
            parameters of a coupling. The last layer has the first output of all entries before the
            second: what works entry by entry then reads memory in order, which `out_shape` with
            one more axis does not give. None adds no axis; a part asks for as many as it needs.
    """

    def __init__(
        self,
        in_shape: Shape,
        hidden: Sequence[int],
        out_shape: Shape,
        *,
        num_outputs: int | None = None,
        activation: Callable[[Array], Array] = jax.nn.tanh,
        rngs: nnx.Rngs,
    ):
        self.in_shape, self.out_shape = _shape(in_shape), _shape(out_shape)
        self.num_outputs = num_outputs
        self.activation = activation
        if isinstance(hidden, int):
            raise TypeError(
                f"hidden must be a sequence of widths, such as (200, 200), got {hidden}."
            )
        widths = [math.prod(self.in_shape), *hidden, math.prod(self.out_shape)]
        widths[-1] *= 1 if num_outputs is None else num_outputs
        if min(widths) < 1:
            outputs = "" if num_outputs is None else f", num_outputs {num_outputs}"
            raise ValueError(
                f"MLP needs positive sizes, got in_shape {self.in_shape}, hidden {tuple(hidden)}, "
                f"out_shape {self.out_shape}{outputs}."
            )
        layer = lambda a, b, rngs: nnx.Linear(
            a, b, kernel_init=nnx.initializers.glorot_uniform(), rngs=rngs
        )
        self.hidden = nnx.List([layer(a, b, rngs) for a, b in itertools.pairwise(widths[:-1])])
        self.redraw = Redraw(lambda size, rngs: layer(widths[-2], size, rngs), rngs)
        self.out = self.redraw.noted(layer(widths[-2], widths[-1], rngs))

    def with_outputs(self, shape: tuple[int, ...], num_outputs: int) -> "MLP":
        """The network that gives [*shape, num_outputs]; its last layer is drawn again."""
        if (shape, num_outputs) == (self.out_shape, self.num_outputs):
            return self
        out = self.redraw(num_outputs * math.prod(shape), self.out)
        return replaced(self, out_shape=shape, num_outputs=num_outputs, out=out)

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        one_event.require(self, x, self.in_shape)
        h = x.reshape(-1)
        for layer in self.hidden:
            h = self.activation(layer(h))
        out = self.out(h)
        if self.num_outputs is None:
            return out.reshape(self.out_shape)
        return jnp.moveaxis(out.reshape(self.num_outputs, *self.out_shape), 0, -1)
