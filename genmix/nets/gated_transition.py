"""The gated transition of a deep Markov model."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from genmix.nets.mlp import MLP


class GatedTransition(nnx.Module):
    """z_t-1 -> the two numbers of `Normal` for each entry of z_t: mean, and raw scale.

    A gate chooses, entry by entry, between a linear step, which starts as the identity, and a
    network's proposal: loc = (1 - g) (W z + b) + g h, raw = V relu(h) + c.

    Source: Krishnan, Shalit & Sontag (2017), arXiv:1609.09869, section 4, "gated transition".
    """

    def __init__(self, dim: int, width: int, *, rngs: nnx.Rngs):
        network = lambda: MLP(dim, (width,), dim, activation=jax.nn.relu, rngs=rngs)
        self.gate, self.proposed = network(), network()
        identity = lambda key, shape, dtype: jnp.eye(*shape, dtype=dtype)
        self.linear = nnx.Linear(dim, dim, kernel_init=identity, rngs=rngs)
        self.raw_scale = nnx.Linear(dim, dim, rngs=rngs)

    def __call__(self, z: Float[Array, " dim"]) -> Float[Array, "dim 2"]:
        gate, proposed = jax.nn.sigmoid(self.gate(z)), self.proposed(z)
        loc = (1 - gate) * self.linear(z) + gate * proposed
        return jnp.stack([loc, self.raw_scale(jax.nn.relu(proposed))], axis=-1)
