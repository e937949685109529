"""A density known up to a constant, and the constant: what makes it a prior or a likelihood."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, ArrayLike, Float, Key, PyTree

from genmix.capabilities import Unnormalized
from genmix.mcmc import kernel


class Normalized(nnx.Module):
    """p(x) = exp(log_unnormalized(x)) / Z, with a log Z that was summed or estimated.

    What is built on it is as exact as log Z is: where that was underestimated, as annealed
    importance sampling does on average, likelihoods come out too high. Z is no parameter: training
    the part makes it wrong.

    Args:
        part: such as a restricted Boltzmann machine.
        log_partition: log Z, in nats.
        start: an event to start chains of `part.chain_kernel()` from, for `sample`.
        num_steps: of such a chain, whose end is a draw the better the longer it is.

    Raises:
        TypeError: if the part has no log_unnormalized.
        ValueError: if num_steps < 1.
    """

    def __init__(
        self,
        part: Any,
        log_partition: Float[ArrayLike, ""],
        *,
        start: PyTree = None,
        num_steps: int = 1000,
    ):
        if not isinstance(part, Unnormalized):
            raise TypeError(
                f"{type(part).__name__} has no log_unnormalized, so there is nothing to normalize."
            )
        kernel.require_steps(num_steps)
        self.part = part
        self.log_partition = nnx.Variable(jnp.asarray(log_partition))
        self.start = None if start is None else nnx.Variable(start)
        self.num_steps = num_steps

    def log_prob(self, x: PyTree, cond: PyTree = None) -> Float[Array, ""]:
        """In nats, with the error of log Z in it."""
        return self.part.log_unnormalized(x, cond) - self.log_partition[...]

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> PyTree:
        """End of a chain of the part's kernel: an approximate draw.

        Raises:
            TypeError: if there is no start, or the part has no kernel.
        """
        del cond
        start = None if self.start is None else self.start.get_value()
        if start is None or not isinstance(self.part, kernel.HasChainKernel):
            raise TypeError(
                f"{type(self.part).__name__} cannot be drawn from: Normalized needs a start, and a "
                "part with a kernel, for a chain."
            )
        return kernel.run(key, self.part.chain_kernel(), start, self.num_steps).position
