"""The stochastic recurrent network: a state-space model on top of a deterministic one."""

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
from genmix.nets import recurrent


class StochasticRNN(nnx.Module):
    """p(x, z) = product over t of p(z_t | z_t-1, d_t) p(x_t | z_t, d_t), with d_t of x_1..x_t-1.

    d_t, and the smoother's a_t, which has seen x_t and all that comes after, do not depend on z:
    they are computed once for all particles. z_0 is zero. With a condition c each part is given the
    pair of the below and c; the cells do not see it.

    Args:
        latent_size: entries of z_t.
        prior: p(z_t | (z_t-1, d_t)).
        likelihood: p(x_t | (z_t, d_t)).
        posterior: q(z_t | (z_t-1, a_t)), or a `MergedNormal` of it.
        forward: the cell whose outputs are d; its inputs are the encoded x_t-1, before the first
            step zeros.
        backward: the cell whose outputs are a; its inputs are (d_t, encoded x_t).
        encoder: x_t -> what the cells see of it; x_t itself by default.

    Raises:
        TypeError: if a part cannot play its role.
        ValueError: if latent_size < 1.

    Source: Fraccaro et al. (2016), arXiv:1605.07571, sections 2 and 3.
    """

    def __init__(
        self,
        latent_size: int,
        *,
        prior: Density,
        likelihood: Density,
        posterior: Proposal | MergedNormal,
        forward: recurrent.Cell,
        backward: recurrent.Cell,
        encoder: Callable[[PyTree], Array] | None = None,
    ):
        require_weighted(prior, "prior")
        require_weighted(likelihood, "likelihood")
        if isinstance(posterior, MergedNormal):
            require_normal(prior, "prior beside a MergedNormal")
        else:
            require_posterior(posterior)
        if latent_size < 1:
            raise ValueError(f"latent_size must be at least 1, got {latent_size}.")
        self.latent_size = latent_size
        latent = {
            "latent_size": (latent_size,),
            "the prior": shapes.event_shape(prior),
            "the posterior": shapes.event_shape(posterior),
        }
        require_same("StochasticRNN", "z_t", latent)
        self.prior: Any = prior
        self.likelihood: Any = likelihood
        self.posterior = posterior
        self.forward, self.backward, self.encoder = forward, backward, encoder

    def start(self, x: PyTree, cond: PyTree = None) -> tuple[PyTree, PyTree]:
        """The carry (z_0, condition), and (x_t, d_t, a_t)."""
        x = padded.one(x)
        encoded = jax.vmap(self._encoded)(x.values)
        before = jax.tree.map(lambda a: jnp.roll(a, 1, 0).at[0].set(0), encoded)
        d = recurrent.outputs(self.forward, before, x.mask())
        a = recurrent.outputs(self.backward, (d, encoded), x.mask(), reverse=True)
        return (jnp.zeros(self.latent_size), cond), (x.values, d, a)

    def step(
        self, key: Key[Array, ""], carry: PyTree, inputs: PyTree, draw: Draw = weigh.draw
    ) -> tuple[PyTree, PyTree, Terms]:
        """z_t, and the terms of log p(x_t | z_t, d_t) + log p(z_t | z_t-1, d_t) - log q(z_t)."""
        (before, cond), (x, d, a) = carry, inputs
        posterior_key, prior_key, likelihood_key = jax.random.split(key, 3)
        given = paired((before, d), cond)
        posterior, evidence = self.posterior, paired((before, a), cond)
        if isinstance(posterior, MergedNormal):
            posterior = posterior.given(parameters(self.prior, given), evidence)
        z, log_q = draw(posterior, posterior_key, evidence)
        prior = weigh.terms(self.prior, prior_key, z, given, draw)
        seen = weigh.terms(self.likelihood, likelihood_key, x, paired((z, d), cond), draw)
        terms = Terms(
            seen.log_likelihood,
            jnp.concatenate([prior.log_likelihood[None], prior.log_prior, seen.log_prior]),
            jnp.concatenate([log_q[None], prior.log_posterior, seen.log_posterior]),
        )
        return (z, cond), z, terms

    def begin(self, cond: PyTree = None) -> PyTree:
        """What `generate` starts from: z_0, the state of the forward cell, x_0 of zeros."""
        state = self.forward.initial()
        z = jnp.zeros(self.latent_size)
        d = self.forward.output(state)
        draw = lambda: self.likelihood.sample(jax.random.key(0), paired((z, d), cond))
        shape = jax.eval_shape(lambda: self._encoded(draw()))
        return z, state, jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shape), cond

    def generate(self, key: Key[Array, ""], carry: PyTree) -> tuple[PyTree, PyTree]:
        """Draw z_t from the prior, and x_t given it."""
        before, state, encoded, cond = carry
        prior_key, likelihood_key = jax.random.split(key)
        state = self.forward(state, encoded)
        d = self.forward.output(state)
        z = self.prior.sample(prior_key, paired((before, d), cond))
        x = self.likelihood.sample(likelihood_key, paired((z, d), cond))
        return (z, state, self._encoded(x), cond), x

    def _encoded(self, x: PyTree) -> PyTree:
        return x if self.encoder is None else self.encoder(x)
