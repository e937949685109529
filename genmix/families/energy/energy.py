"""Energy models: any network as a log-density that is not normalized."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PyTree


class Energy(nnx.Module):
    """p(x) = exp(f(x)) base(x) / Z, with a network f that returns one number.

    It can be trained by contrastive divergence, drawn from by a Markov chain
    (`mala.build(model.log_unnormalized, 0.1)`) and weighed against another density. It can be the
    prior of latents (`objectives.energy_prior`), and is no decoder, since Z is not known.

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
