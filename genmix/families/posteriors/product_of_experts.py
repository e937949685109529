"""The posterior of several modalities as a product of one expert each."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.densities import normal
from genmix.families.explicit.normal_at import NormalAt
from genmix.families.latent.modalities import condition, experts_of
from genmix.families.posteriors.merged_normal import parameters, require_normal
from genmix.families.roles import require_module


class ProductOfExperts(nnx.Module):
    """q(z | x_1..x_n) = p(z) product of N(z; loc_i(x_i), scale_i(x_i)^2), normalized.

    Precisions add, and that of what is missing is zero: any subset of modalities has its posterior,
    and none has the prior. Exact where p(x_i | z) is normal with a diagonal precision in z.

    Args:
        experts: such as `Normal(network)`, one for each entry of `Modalities`.
        prior: of the model; it is one of the experts.

    Raises:
        TypeError: if an expert or the prior is no normal distribution.
        ValueError: if there are no experts.

    Source: Wu & Goodman (2018), arXiv:1802.05335, section 2.1.
    """

    def __init__(self, experts: Sequence[Any], *, prior: Any):
        if not experts:
            raise ValueError("ProductOfExperts needs at least one expert, got none.")
        for expert in experts:
            require_normal(expert, "expert of a ProductOfExperts")
        require_normal(prior, "prior of a ProductOfExperts")
        for part in (*experts, prior):
            require_module(part, "part of a ProductOfExperts")
        self.experts, self.prior = nnx.List(list(experts)), prior

    def parameters(self, cond: PyTree = None) -> normal.Parameters:
        """Means and standard deviations given what is present."""
        seen, found = experts_of(cond, self.experts, parameters)
        loc, scale = parameters(self.prior, condition(cond))
        precision = scale**-2.0
        weighted = precision * loc
        for here, (expert_loc, expert_scale) in zip(seen.present, found, strict=True):
            share = jnp.where(here, expert_scale**-2.0, 0.0)
            precision, weighted = precision + share, weighted + share * expert_loc
        return normal.Parameters(weighted / precision, precision**-0.5)

    def log_prob(self, z: Array, cond: PyTree = None) -> Float[Array, ""]:
        return self._at(cond).log_prob(z)

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Array:
        return self._at(cond).sample(key)

    def sample_and_log_prob(
        self, key: Key[Array, ""], cond: PyTree = None
    ) -> tuple[Array, Float[Array, ""]]:
        return self._at(cond).sample_and_log_prob(key)

    def mean(self, cond: PyTree = None) -> Array:
        return self.parameters(cond).loc

    def kl(self, prior: Any, cond: PyTree = None, prior_cond: PyTree = None) -> Float[Array, " _"]:
        """KL(q(z | cond) || prior) in nats, entry by entry.

        Raises:
            TypeError: if the prior is no normal distribution.
        """
        require_normal(prior, "prior of this KL")
        p, q = self.parameters(cond), parameters(prior, prior_cond)
        return normal.kl(*p, *q).reshape(-1)

    def _at(self, cond: PyTree) -> NormalAt:
        return NormalAt(*self.parameters(cond))
