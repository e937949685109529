"""The variational recurrent network."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Key, PyTree

from genmix.bounds.log_weight import Draw, Terms
from genmix.capabilities import Density, Proposal, require_same
from genmix.families import shapes, weigh
from genmix.families.posteriors.merged_normal import MergedNormal, parameters, require_normal
from genmix.families.roles import require_posterior, require_weighted
from genmix.families.sequence import padded
from genmix.families.sequence.state_space import paired
from genmix.nets.recurrent import Cell


class VariationalRNN(nnx.Module):
    """A latent-variable model at every step, which knows the past by a recurrent network's state.

    - prior: p(z_t | h_t)
    - generation: p(x_t | (z_t, h_t))
    - inference: q(z_t | (encoded x_t, h_t)), or a `MergedNormal`
    - recurrence: h_t+1 = cell(h_t, (encoded x_t, z_t))

    With a condition c each part is given the pair of the above and c, the cell (inputs, c).

    Args:
        cell: a `genmix.nets.recurrent.Cell`; h is its output.
        encoder: x_t -> what inference and recurrence see of it; x_t itself by default.

    Raises:
        TypeError: if a part cannot play its role.

    Source: Chung et al. (2015), arXiv:1506.02216, equations 5 to 9.
    """

    def __init__(
        self,
        *,
        prior: Density,
        likelihood: Density,
        posterior: Proposal | MergedNormal,
        cell: Cell,
        encoder: Callable[[PyTree], PyTree] | None = None,
    ):
        require_weighted(prior, "prior")
        require_weighted(likelihood, "likelihood")
        if isinstance(posterior, MergedNormal):
            require_normal(prior, "prior beside a MergedNormal")
        else:
            require_posterior(posterior)
        latent = {
            "the prior": shapes.event_shape(prior),
            "the posterior": shapes.event_shape(posterior),
        }
        require_same("VariationalRNN", "z_t", latent)
        self.prior: Any = prior
        self.likelihood: Any = likelihood
        self.posterior = posterior
        self.cell, self.encoder = cell, encoder

    def start(self, x: PyTree, cond: PyTree = None) -> tuple[PyTree, PyTree]:
        """The carry (state of the cell, condition), and (x_t, encoded x_t)."""
        values = padded.one(x).values
        encoded = values if self.encoder is None else jax.vmap(self.encoder)(values)
        return self.begin(cond), (values, encoded)

    def step(
        self, key: Key[Array, ""], carry: PyTree, inputs: PyTree, draw: Draw = weigh.draw
    ) -> tuple[PyTree, PyTree, Terms]:
        """z_t, and the terms of log p(x_t | z_t, h_t) + log p(z_t | h_t) - log q(z_t)."""
        (state, cond), (x, encoded) = carry, inputs
        posterior_key, prior_key, likelihood_key = jax.random.split(key, 3)
        h = self.cell.output(state)
        posterior, given = self.posterior, paired((encoded, h), cond)
        if isinstance(posterior, MergedNormal):
            posterior = posterior.given(parameters(self.prior, paired(h, cond)), given)
        z, log_q = draw(posterior, posterior_key, given)
        prior = weigh.terms(self.prior, prior_key, z, paired(h, cond), draw)
        seen = weigh.terms(self.likelihood, likelihood_key, x, paired((z, h), cond), draw)
        terms = Terms(
            seen.log_likelihood,
            jnp.concatenate([prior.log_likelihood[None], prior.log_prior, seen.log_prior]),
            jnp.concatenate([log_q[None], prior.log_posterior, seen.log_posterior]),
        )
        return (self.cell(state, paired((encoded, z), cond)), cond), z, terms

    def begin(self, cond: PyTree = None) -> PyTree:
        """The carry before the first step."""
        return self.cell.initial(), cond

    def generate(self, key: Key[Array, ""], carry: PyTree) -> tuple[PyTree, PyTree]:
        """Draw z_t from the prior, and x_t given it."""
        prior_key, likelihood_key = jax.random.split(key)
        state, cond = carry
        h = self.cell.output(state)
        z = self.prior.sample(prior_key, paired(h, cond))
        x = self.likelihood.sample(likelihood_key, paired((z, h), cond))
        encoded = x if self.encoder is None else self.encoder(x)
        return (self.cell(state, paired((encoded, z), cond)), cond), x
