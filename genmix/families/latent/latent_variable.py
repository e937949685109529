"""Latent-variable models: any prior, any likelihood, any posterior."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.bounds.log_weight import Draw, Terms
from genmix.capabilities import (
    ClosedKL,
    Mean,
    Reparameterized,
    require_posterior,
    require_weighted,
    sample,
)
from genmix.families import weigh


class LatentVariableModel(nnx.Module):
    """p(x) = integral of p(x | z) p(z) dz, with an approximate posterior q(z | x).

    The parts are any objects with the methods of `genmix.capabilities`: the prior and the
    likelihood need a density or an unbiased estimate of one, the posterior the exact density of
    what it draws. The model is itself weighted, so it can be the prior of another (then it has two
    stochastic layers), or its likelihood.

    With a condition c the model is p(x | c): the prior is given c, the likelihood (z, c) and the
    posterior (x, c), as pairs.

    Raises:
        TypeError: if a part cannot play its role; it names the part, what it lacks and the remedy.

    Source: Kingma & Welling (2014), arXiv:1312.6114; Burda et al. (2016), arXiv:1509.00519.
    """

    def __init__(self, *, prior: Any, likelihood: Any, posterior: Any):
        require_weighted(prior, "prior")
        require_weighted(likelihood, "likelihood")
        require_posterior(posterior)
        self.prior = prior
        self.likelihood = likelihood
        self.posterior = posterior

    def log_weight_terms(
        self, key: Key[Array, ""], x: PyTree, cond: PyTree = None, draw: Draw = weigh.draw
    ) -> Terms:
        """Terms of log p(x | z) + log p(z) - log q(z | x) for one z drawn from q, in nats."""
        posterior_key, prior_key, likelihood_key = jax.random.split(key, 3)
        z, log_q = draw(self.posterior, posterior_key, x if cond is None else (x, cond))
        prior = weigh.terms(self.prior, prior_key, z, cond, draw)
        given = z if cond is None else (z, cond)
        likelihood = weigh.terms(self.likelihood, likelihood_key, x, given, draw)
        return Terms(
            likelihood.log_likelihood,
            jnp.concatenate([prior.log_likelihood[None], prior.log_prior, likelihood.log_prior]),
            jnp.concatenate([log_q[None], prior.log_posterior, likelihood.log_posterior]),
        )

    def log_weight(self, key: Key[Array, ""], x: PyTree, cond: PyTree = None) -> Float[Array, ""]:
        """Log of an unbiased estimate of p(x | cond), in nats; its expectation is the ELBO."""
        return self.log_weight_terms(key, x, cond).log_weight

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> PyTree:
        """Draw z from the prior, then x given z."""
        prior_key, likelihood_key = jax.random.split(key)
        z = self.prior.sample(prior_key, cond)
        return self.likelihood.sample(likelihood_key, z if cond is None else (z, cond))

    def encode(self, key: Key[Array, ""], x: PyTree, cond: PyTree = None) -> PyTree:
        """Draw z from q(z | x)."""
        given = x if cond is None else (x, cond)
        return sample(self.posterior, key, given)

    def decode(self, z: PyTree, cond: PyTree = None) -> PyTree:
        """Mean of x given z.

        Raises:
            TypeError: if the likelihood does not know its mean.
        """
        if not isinstance(self.likelihood, Mean):
            raise TypeError(
                f"{type(self.likelihood).__name__} has no mean, so decode(z) is not defined: "
                "draw from likelihood.sample(key, z)."
            )
        return self.likelihood.mean(z if cond is None else (z, cond))

    def closed_rate(self, x: PyTree, cond: PyTree = None) -> Float[Array, " dim"]:
        """KL(q(z | x) || p(z)) in closed form, in nats, one entry a dimension of z.

        Raises:
            TypeError: if the posterior knows no closed form for this prior.
        """
        if not isinstance(self.posterior, ClosedKL) or not isinstance(
            self.posterior, Reparameterized
        ):
            raise TypeError(
                f"KL({type(self.posterior).__name__} || {type(self.prior).__name__}) has no closed "
                "form here: use the sampled rate (analytic=False)."
            )
        return self.posterior.kl(self.prior, x if cond is None else (x, cond), cond)
