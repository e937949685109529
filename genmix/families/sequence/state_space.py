"""State-space models: a hidden chain, and what each of its states shows."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Key, PyTree

from genmix.bounds.log_weight import Draw, Terms
from genmix.capabilities import ExactDensity, Samples, require_same
from genmix.densities import normal
from genmix.families import shapes, weigh
from genmix.families.posteriors.merged_normal import MergedNormal, parameters, require_normal
from genmix.families.roles import require_posterior, require_weighted
from genmix.families.sequence import padded
from genmix.families.sequence.padded import Padded


class StateSpaceModel(nnx.Module):
    """p(x, z) = p(z_1) p(x_1 | z_1) product over t > 1 of p(z_t | z_t-1) p(x_t | z_t).

    A linear-Gaussian model, a hidden Markov model or a deep Markov model, by its parts. Without a
    proposal z_t is drawn from the transition itself (the bootstrap filter).

    With a condition c the initial part is given c, the transition (z_t-1, c), the emission
    (z_t, c).

    Args:
        initial: p(z_1), a part with a density that samples.
        transition: p(z_t | z_t-1), likewise.
        emission: p(x_t | z_t), any weighted part.
        proposal: q(z_t | (z_t-1, guide_t)), any posterior, where z_0 is zero; or a `MergedNormal`.
        encoder: x -> guides of all steps, along the first axis, given the whole sequence as
            `Padded`; x itself by default.

    Raises:
        TypeError: if a part cannot play its role.
        ValueError: if parts that know the shape of z_t do not agree on it.

    Source: Krishnan, Shalit & Sontag (2017), arXiv:1609.09869, section 4.
    """

    def __init__(
        self,
        *,
        initial: Any,
        transition: Any,
        emission: Any,
        proposal: Any = None,
        encoder: Callable[[Padded], PyTree] | None = None,
    ):
        for role, part in (("initial", initial), ("transition", transition)):
            if not isinstance(part, Samples) or not isinstance(part, ExactDensity):
                raise TypeError(
                    f"{type(part).__name__} cannot be the {role}: it needs sample and log_prob."
                )
            if isinstance(proposal, MergedNormal):
                require_normal(part, f"{role} beside a MergedNormal")
        require_weighted(emission, "emission")
        if proposal is not None and not isinstance(proposal, MergedNormal):
            require_posterior(proposal)
        state = {
            "the initial part": shapes.event_shape(initial),
            "the transition": shapes.event_shape(transition),
            "the transition's condition": shapes.cond_shape(transition),
            "the emission's condition": shapes.cond_shape(emission),
            "the proposal": shapes.event_shape(proposal),
        }
        require_same("StateSpaceModel", "z_t", state)
        self.initial, self.transition, self.emission = initial, transition, emission
        self.proposal, self.encoder = proposal, encoder

    def start(self, x: PyTree, cond: PyTree = None) -> tuple[PyTree, PyTree]:
        """The carry (z, whether a first step is next, condition), and (x_t, guide_t)."""
        x = padded.one(x)
        guides = x.values if self.encoder is None else self.encoder(x)
        return self.begin(cond), (x.values, guides)

    def step(
        self, key: Key[Array, ""], carry: PyTree, inputs: PyTree, draw: Draw = weigh.draw
    ) -> tuple[PyTree, PyTree, Terms]:
        """z_t, and the terms of log p(x_t | z_t) + log p(z_t | z_t-1) - log q(z_t)."""
        (before, is_first, cond), (x, guide) = carry, inputs
        draw_key, emission_key = jax.random.split(key)
        if self.proposal is None:
            z, log_q = self._prior_draw(draw_key, carry, draw)
            log_p = log_q
        else:
            proposal = self.proposal
            given = (before, guide)
            if isinstance(proposal, MergedNormal):
                proposal = proposal.given(self._prior_parameters(carry), given)
            z, log_q = draw(proposal, draw_key, given)
            first = self.initial.log_prob(z, cond)
            later = self.transition.log_prob(z, paired(before, cond))
            log_p = jnp.where(is_first, first, later)
        seen = weigh.terms(self.emission, emission_key, x, paired(z, cond), draw)
        terms = Terms(
            seen.log_likelihood,
            jnp.concatenate([log_p[None], seen.log_prior]),
            jnp.concatenate([log_q[None], seen.log_posterior]),
        )
        return (z, jnp.array(False), cond), z, terms

    def begin(self, cond: PyTree = None) -> PyTree:
        """The carry before the first step."""
        shape = jax.eval_shape(lambda: self.initial.sample(jax.random.key(0), cond))
        zero = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shape)
        return zero, jnp.array(True), cond

    def generate(self, key: Key[Array, ""], carry: PyTree) -> tuple[PyTree, PyTree]:
        """Draw z_t, and x_t given it."""
        hidden_key, emission_key = jax.random.split(key)
        (before, is_first, cond) = carry
        first_key, later_key = jax.random.split(hidden_key)
        first = self.initial.sample(first_key, cond)
        later = self.transition.sample(later_key, paired(before, cond))
        z = jax.tree.map(lambda a, b: jnp.where(is_first, a, b), first, later)
        x = self.emission.sample(emission_key, paired(z, cond))
        return (z, jnp.array(False), cond), x

    def _prior_draw(self, key: Key[Array, ""], carry: PyTree, draw: Draw) -> tuple[PyTree, Array]:
        before, is_first, cond = carry
        first_key, later_key = jax.random.split(key)
        first = draw(self.initial, first_key, cond)
        later = draw(self.transition, later_key, paired(before, cond))
        return jax.tree.map(lambda a, b: jnp.where(is_first, a, b), first, later)

    def _prior_parameters(self, carry: PyTree) -> normal.Parameters:
        before, is_first, cond = carry
        first = parameters(self.initial, cond)
        later = parameters(self.transition, paired(before, cond))
        return jax.tree.map(lambda a, b: jnp.where(is_first, a, b), first, later)


def paired(z: PyTree, cond: PyTree) -> PyTree:
    """The condition of a part: z, with the model's own condition if there is one."""
    return z if cond is None else (z, cond)
