"""Independent binary entries, their logits a network's output."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.densities import bernoulli

Event = Float[Array, "..."]


class Bernoulli(nnx.Module):
    """p(x | c) = product of Bernoulli(x_i; sigmoid(logits_i(c))): the likelihood of binary images.

    Args:
        network: condition -> logits of the event's shape.
    """

    def __init__(self, network: Callable[[Any], Array]):
        self.network = network

    def log_prob(self, x: Event, cond: PyTree = None) -> Float[Array, ""]:
        logits = self.network(cond)
        if x.shape != logits.shape:
            raise ValueError(
                f"Bernoulli's network gives logits of shape {logits.shape}, got x of {x.shape}."
            )
        return bernoulli.joint_log_prob(x.reshape(-1), logits.reshape(-1))

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Event:
        return bernoulli.sample(key, self.network(cond))

    def mean(self, cond: PyTree = None) -> Event:
        return jax.nn.sigmoid(self.network(cond))
