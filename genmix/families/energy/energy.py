"""Energy models: any network as a log-density that is not normalized."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.mcmc import langevin as langevin_kernel
from genmix.mcmc import mala


class Energy(nnx.Module):
    """p(x) = exp(f(x)) base(x) / Z, with a network f that returns one number.

    It can be trained by contrastive divergence, drawn from by a Markov chain and weighed against
    another density, and is no prior or decoder, since Z is not known.

    Source: LeCun et al. (2006), A Tutorial on Energy-Based Learning.
    """

    def __init__(self, network: Callable[[PyTree], Array], *, base: Any = None):
        """f alone, or with a base density (a part with `log_prob`) that makes Z finite."""
        self.network = network
        self.base = base

    def log_unnormalized(self, x: PyTree, cond: PyTree = None) -> Float[Array, ""]:
        """f(x) plus the log-density of the base, in nats."""
        del cond
        value = jnp.reshape(self.network(x), ())
        return value if self.base is None else value + self.base.log_prob(x, None)


def langevin(step_size: float, *, adjusted: bool = False) -> Callable[..., Any]:
    """Transition for contrastive divergence: a step of Langevin's algorithm, or of MALA.

    Only the adjusted one leaves the density exactly invariant.
    """
    kernel = mala if adjusted else langevin_kernel

    def transition(model: Any, key: Key[Array, ""], x: PyTree) -> PyTree:
        moves = kernel.build(model.log_unnormalized, step_size)
        return moves.step(key, moves.init(x))[0].position

    return transition
