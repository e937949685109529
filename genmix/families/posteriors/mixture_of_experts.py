"""The posterior of several modalities as a mixture of one expert each, or with one of all."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Key, PyTree

from genmix.capabilities import ExactDensity, Reparameterized
from genmix.families.latent.modalities import condition, experts_of
from genmix.families.roles import require_module


class MixtureOfExperts(nnx.Module):
    """q(z | x_1..x_n) = mean over the modalities that are present of q_i(z | x_i).

    None has the prior. With `joint` that one expert stands alone where all are present, and others
    where some are: for two modalities these are the posteriors of JMVAE.

    Args:
        experts: one for each entry of `Modalities`.
        prior: of the model.
        joint: q(z | all values), given their tuple.

    Raises:
        TypeError: if an expert, the prior or joint has no log_prob or no sample_and_log_prob.
        ValueError: if there are no experts.

    Source: Shi et al. (2019), arXiv:1911.03393, section 3; Suzuki, Nakayama & Matsuo (2016),
    arXiv:1611.01891, section 3.
    """

    def __init__(self, experts: Sequence[Any], *, prior: Any, joint: Any = None):
        if not experts:
            raise ValueError("MixtureOfExperts needs at least one expert, got none.")
        for part in (*experts, prior, *(() if joint is None else (joint,))):
            require_module(part, "part of a MixtureOfExperts")
            if not (isinstance(part, Reparameterized) and isinstance(part, ExactDensity)):
                raise TypeError(
                    f"{type(part).__name__} cannot be in a MixtureOfExperts: it needs "
                    "sample_and_log_prob and log_prob, as Normal(network) has them."
                )
        self.experts, self.prior, self.joint = nnx.List(list(experts)), prior, joint

    def log_prob(self, z: Array, cond: PyTree = None) -> Float[Array, ""]:
        is_in, log_probs = self._each(cond, lambda part, c: part.log_prob(z, c))
        log_probs = jnp.where(is_in, jnp.stack(log_probs), -jnp.inf)
        return jax.nn.logsumexp(log_probs) - jnp.log(jnp.sum(is_in))

    def sample_and_log_prob(
        self, key: Key[Array, ""], cond: PyTree = None
    ) -> tuple[Array, Float[Array, ""]]:
        """A draw of one expert; which one, no parameter decides, so it has all the gradient."""
        choice_key, *keys = jax.random.split(key, len(self.experts) + 3)
        # Each part has its own key, though all but one of the draws are left.
        draw = lambda part, c: part.sample_and_log_prob(keys.pop(), c)[0]
        is_in, draws = self._each(cond, draw)
        chosen = jax.random.categorical(choice_key, jnp.where(is_in, 0.0, -jnp.inf))
        z = jnp.stack(draws)[chosen]
        return z, self.log_prob(z, cond)

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Array:
        return self.sample_and_log_prob(key, cond)[0]

    def _each(self, cond: PyTree, of: Any) -> tuple[Bool[Array, " parts"], list[Any]]:
        """Which of (prior, experts, joint) are in the mixture, and of(part, its condition)."""
        seen, found = experts_of(cond, self.experts, of)
        given = condition(cond)
        found = [of(self.prior, given), *found]
        is_in = jnp.concatenate([~jnp.any(seen.present)[None], seen.present])
        if self.joint is not None:
            all_of_them = jnp.all(seen.present)
            everything = seen.values if given is None else (seen.values, given)
            found.append(of(self.joint, everything))
            is_in = jnp.append(is_in & ~all_of_them, all_of_them)
        return is_in, found
