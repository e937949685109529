"""A distribution without a condition: mostly a prior."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PyTree

from genmix.densities.distribution import Distribution
from genmix.families.explicit.conditional import (
    Conditional,
    ContinuousConditional,
    DiscreteConditional,
    RelaxedConditional,
)


class Constant(nnx.Module):
    """A network that gives the same whatever it is given: zeros, until they are trained."""

    def __init__(self, shape: Sequence[int], num_outputs: int | None = None, *, trained: bool):
        self.out_shape, self.num_outputs, self.trained = tuple(shape), num_outputs, trained
        axes = self.out_shape if num_outputs is None else (*self.out_shape, num_outputs)
        self.value = (nnx.Param if trained else nnx.Variable)(jnp.zeros(axes))

    def with_outputs(self, shape: tuple[int, ...], num_outputs: int) -> "Constant":
        """The network that gives [*shape, num_outputs]."""
        return Constant(shape, num_outputs, trained=self.trained)

    def __call__(self, cond: PyTree = None) -> Float[Array, "..."]:
        del cond
        return self.value[...]


def Unconditional(
    distribution: Distribution, shape: int | Sequence[int] = (), *, trained: bool = False
) -> DiscreteConditional | RelaxedConditional | ContinuousConditional:
    """p(x) = product over entries of any record, all of whose numbers are 0 at first.

    Such as `Unconditional(gamma.Gamma(concentration=2.0, rate=1.0), 8)`, of which nothing is left
    to be said, fair coins `bernoulli.Bernoulli()`, or the uniform distribution on a sphere,
    `von_mises_fisher.VonMisesFisher(3, concentration=0.0)`.

    Args:
        shape: of the entries; () is one of them.
        trained: the numbers are parameters.

    Raises:
        ValueError: if the shape is not positive.
        TypeError: as `Conditional`.
    """
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    if min(shape, default=1) < 1:
        raise ValueError(f"shape must be positive, got {shape}.")
    network = Constant((*shape, *distribution.entry_shape), trained=trained)
    return Conditional(network, distribution)
