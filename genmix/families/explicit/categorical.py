"""Independent categorical entries, their logits a network's output."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key, PyTree

from genmix.densities import categorical


class Categorical(nnx.Module):
    """p(x | c) = product of Categorical(x_i; softmax(logits_i(c))) for integer events.

    Args:
        network: condition -> logits of the event's shape with one more axis, the classes, last.
    """

    def __init__(self, network: Callable[[Any], Array]):
        self.network = network

    def _flat_logits(self, cond: PyTree) -> tuple[Array, tuple[int, ...]]:
        logits = self.network(cond)
        return logits.reshape(-1, logits.shape[-1]), logits.shape[:-1]

    def log_prob(self, x: Int[Array, "..."], cond: PyTree = None) -> Float[Array, ""]:
        logits, shape = self._flat_logits(cond)
        if x.shape != shape:
            raise ValueError(
                f"Categorical's network gives logits for events of shape {shape}, got x of "
                f"{x.shape}."
            )
        return jnp.sum(jax.vmap(categorical.log_prob)(x.reshape(-1), logits))

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Int[Array, "..."]:
        logits, shape = self._flat_logits(cond)
        keys = jax.random.split(key, len(logits))
        return jax.vmap(categorical.sample)(keys, logits).reshape(shape)

    def probabilities(self, cond: PyTree = None) -> Float[Array, "..."]:
        """Probabilities of the classes, last axis."""
        return jax.nn.softmax(self.network(cond))
