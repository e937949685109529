"""A network as a distribution that has one value."""

from collections.abc import Callable

from flax import nnx
from jaxtyping import Array, Key, PyTree


class Deterministic(nnx.Module):
    """x = network(cond), always: the encoder of a deterministic autoencoder.

    It samples and has no density: bounds on the likelihood refuse it, comparisons of samples do
    not.
    """

    def __init__(self, network: Callable[[PyTree], PyTree]):
        self.network = network

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> PyTree:
        del key
        return self.network(cond)

    def mean(self, cond: PyTree = None) -> PyTree:
        return self.network(cond)
