"""An autoencoder, for encoders of which no density is known."""

from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Key, PyTree

from genmix.capabilities import Reparameterized, Samples, sample
from genmix.families.roles import require_weighted


class Autoencoder(nnx.Module):
    """The parts of a `LatentVariableModel`, whose posterior and prior need only sample.

    Without the density of the posterior there is no bound on log p(x): train it by a
    reconstruction, and by what compares latents (`genmix.objectives.autoencoding`, `.comparison`).

    Raises:
        TypeError: if the likelihood has no density, or prior or posterior do not sample.
    Source: Makhzani et al. (2016), arXiv:1511.05644, section 2.
    """

    def __init__(self, *, prior: Any, likelihood: Any, posterior: Any):
        require_weighted(likelihood, "likelihood")
        for role, part, kinds in (
            ("prior", prior, (Samples,)),
            ("posterior", posterior, (Samples, Reparameterized)),
        ):
            if not isinstance(part, kinds):
                raise TypeError(f"{type(part).__name__} cannot be the {role}: it has no sample.")
        self.prior = prior
        self.likelihood = likelihood
        self.posterior = posterior

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> PyTree:
        """Draw z from the prior, then x given z."""
        prior_key, likelihood_key = jax.random.split(key)
        z = self.prior.sample(prior_key, cond)
        return self.likelihood.sample(likelihood_key, z if cond is None else (z, cond))

    def encode(self, key: Key[Array, ""], x: PyTree) -> PyTree:
        """Draw z from q(z | x)."""
        return sample(self.posterior, key, x)

    def decode(self, z: PyTree) -> PyTree:
        """Mean of x given z."""
        return self.likelihood.mean(z)
