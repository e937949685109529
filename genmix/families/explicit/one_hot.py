"""A class as a one-hot vector, for networks, critics and codes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.densities import categorical

Vector = Float[Array, " classes"]


class OneHot(nnx.Module):
    """p(x | c) = softmax(logits(c)) of the entry of x that is one.

    Args:
        network: condition -> logits, one for each class.
    """

    def __init__(self, network: Callable[[Any], Array]):
        self.network = network

    def log_prob(self, x: Vector, cond: PyTree = None) -> Float[Array, ""]:
        """Log-probability, in nats, and a linear function of x between the corners.

        So a soft x has a gradient too, and minus this its cross-entropy.
        """
        log_p = jax.nn.log_softmax(self.network(cond))
        if x.shape != log_p.shape:
            raise ValueError(
                f"OneHot's network gives logits of shape {log_p.shape}, got x of {x.shape}."
            )
        return jnp.sum(jnp.where(x == 0, 0.0, x * log_p))

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Vector:
        logits = self.network(cond)
        return jax.nn.one_hot(categorical.sample(key, logits), len(logits), dtype=logits.dtype)

    def mean(self, cond: PyTree = None) -> Vector:
        """Probabilities of the classes."""
        return jax.nn.softmax(self.network(cond))
