"""An implicit distribution: it can be drawn from, and has no density."""

from collections.abc import Callable
from typing import Any

from flax import nnx
from jaxtyping import Array, Key, PyTree

from genmix.capabilities import Samples


class Implicit(nnx.Module):
    """x = network(z) with z drawn from a base, or network((z, cond)) given a condition.

    The generator of a GAN, or the encoder of an adversarial autoencoder (noise as the base, x as
    the condition). Draws are differentiable in the network's parameters; there is no density, so
    that bounds on the likelihood refuse it.

    Args:
        base: any part that samples; it is not given the condition.

    Raises:
        TypeError: if the base does not sample.
    Source: Mohamed & Lakshminarayanan (2017), arXiv:1610.03483.
    """

    def __init__(self, base: Any, network: Callable[[PyTree], PyTree]):
        if not isinstance(base, Samples):
            raise TypeError(
                f"{type(base).__name__} cannot be the base of Implicit: it has no sample."
            )
        self.base: Any = base
        self.network = network

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> PyTree:
        """Draw an event."""
        z = self.base.sample(key)
        return self.network(z if cond is None else (z, cond))
