"""Generative stochastic networks: a density as what a learned Markov chain ends in."""

from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Key, PyTree

from genmix.capabilities import Samples
from genmix.families.roles import require_weighted
from genmix.mcmc import gibbs


class GenerativeStochastic(nnx.Module):
    """The chain x -> h ~ C(h | x) -> x' ~ p(x' | h), whose stationary distribution is the model.

    If p(x | h) is the posterior of x under the data distribution and C, that distribution is the
    data's, and the chain reversible. There is no density p(x) but as the chain's; for a lower bound
    on its logarithm see `evaluation.conservative_log_likelihood`.

    Args:
        corruption: C, any part that samples given x: noise on x, or a network with noise in it
            (the state h of a generative stochastic network); to be learned it must reparameterize.
        reconstruction: p(x | h), with a density and samples.

    Raises:
        TypeError: if one cannot do what it has to.

    Source: Bengio, Yao, Alain & Vincent (2013), arXiv:1305.6663, section 3; Bengio,
    Thibodeau-Laufer, Alain & Yosinski (2014), arXiv:1306.1091, section 3.
    """

    def __init__(self, corruption: Any, reconstruction: Any):
        require_weighted(reconstruction, "reconstruction")
        for role, part in (("corruption", corruption), ("reconstruction", reconstruction)):
            if not isinstance(part, Samples):
                raise TypeError(f"{type(part).__name__} cannot be the {role}: it has no sample.")
        self.corruption = corruption
        self.reconstruction = reconstruction

    def chain_kernel(self) -> gibbs.Kernel:
        """The chain: h given x, then x given h."""
        return gibbs.build([self._walk])

    def _walk(self, key: Key[Array, ""], x: PyTree) -> PyTree:
        corrupt_key, draw_key = jax.random.split(key)
        return self.reconstruction.sample(draw_key, self.corruption.sample(corrupt_key, x))
