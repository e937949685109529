"""Fully connected network of an event, a time and a condition."""

import math
from collections.abc import Sequence

import jax
from flax import nnx
from jaxtyping import Array, Float, PyTree

from genmix.nets import one_event
from genmix.nets.joined import joined
from genmix.nets.time_features import TimeFeatures

_FEATURES = 32


class TimeMLP(nnx.Module):
    """(x, time, cond) -> array: residual blocks of one width, each told the time and the condition.

    The last layer starts at zero.

    Args:
        in_shape: of x.
        width: of the blocks.
        num_blocks: each has two layers.
        out_shape: by default that of x.
        cond_size: entries of the condition, all its arrays together; 0 for none.
        span: between which times lie, see `TimeFeatures`.

    Raises:
        ValueError: if a size is not positive; at a call, if x or the condition has another size.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        width: int,
        num_blocks: int,
        *,
        out_shape: Sequence[int] | None = None,
        cond_size: int = 0,
        span: tuple[float, float] = (-15.0, 10.0),
        rngs: nnx.Rngs,
    ):
        self.in_shape = tuple(in_shape)
        self.out_shape = self.in_shape if out_shape is None else tuple(out_shape)
        if min(width, num_blocks, cond_size + 1, *self.in_shape, *self.out_shape) < 1:
            raise ValueError(
                f"TimeMLP needs positive sizes, got in_shape {self.in_shape}, width {width}, "
                f"num_blocks {num_blocks}, out_shape {self.out_shape}, cond_size {cond_size}."
            )
        self.cond_size = cond_size
        self.features = TimeFeatures(_FEATURES, span=span)
        zeros = nnx.initializers.zeros
        self.first = nnx.Linear(math.prod(self.in_shape), width, rngs=rngs)
        self.told = nnx.Linear(_FEATURES + cond_size, width, rngs=rngs)
        block = lambda: nnx.List([nnx.Linear(width, width, rngs=rngs) for _ in range(3)])
        self.blocks = nnx.List([block() for _ in range(num_blocks)])
        self.out = nnx.Linear(width, math.prod(self.out_shape), kernel_init=zeros, rngs=rngs)

    def __call__(
        self, x: Float[Array, "..."], time: Float[Array, ""], cond: PyTree = None
    ) -> Float[Array, "..."]:
        one_event.require(self, x, self.in_shape)
        told = joined([self.features(time), *jax.tree.leaves(cond)])
        if told.size != _FEATURES + self.cond_size:
            raise ValueError(
                f"TimeMLP needs a cond of {self.cond_size} entries, got {told.size - _FEATURES}."
            )
        told = jax.nn.silu(self.told(told))
        h = self.first(x.reshape(-1))
        for inner, shift, outer in self.blocks:
            h = h + outer(jax.nn.silu(inner(jax.nn.silu(h)) + shift(told)))
        return self.out(jax.nn.silu(h)).reshape(self.out_shape)
