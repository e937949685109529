"""The inference network of a deep Markov model: what z_t-1 and all of x from t on say of z_t."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from genmix.families.sequence.padded import Padded
from genmix.nets import recurrent


class FromTheEnd(nnx.Module):
    """Encoder of a `StateSpaceModel`: a_t, the outputs of a cell that reads x from its last step.

    z_t given z_t-1 does not depend on x before t, so that a_t is all that a posterior needs.

    Source: Krishnan, Shalit & Sontag (2017), arXiv:1609.09869, section 3 (DKS).
    """

    def __init__(self, cell: recurrent.Cell):
        self.cell = cell

    def __call__(self, x: Padded) -> Float[Array, "steps width"]:
        return recurrent.outputs(self.cell, x.values, x.mask(), reverse=True)


class Combiner(nnx.Module):
    """(z_t-1, a_t) -> (tanh(W z_t-1 + b) + a_t) / 2, features of which a posterior is made.

    Source: Krishnan, Shalit & Sontag (2017), arXiv:1609.09869, section 3 (combiner function).
    """

    def __init__(self, dim: int, width: int, *, rngs: nnx.Rngs):
        self.linear = nnx.Linear(dim, width, rngs=rngs)

    def __call__(
        self, both: tuple[Float[Array, " dim"], Float[Array, " width"]]
    ) -> Float[Array, " width"]:
        before, ahead = both
        return (jnp.tanh(self.linear(before)) + ahead) / 2
