"""An event and its class, or whatever else it is drawn from, as one event."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.bounds.log_weight import Draw, Terms
from genmix.capabilities import Density
from genmix.families import weigh
from genmix.families.roles import require_bounded


class Pairs(nnx.Module):
    """p(x, y) = p(y) p(x | y), for events (x, y).

    Args:
        prior: p(y | c).
        part: p(x | y), given y, or the pair (y, c) with a condition.

    Raises:
        TypeError: if prior or part have no density.
    """

    def __init__(self, *, prior: Density, part: Density):
        require_bounded(prior, "prior")
        require_bounded(part, "part")
        self.prior: Any = prior
        self.part: Any = part

    @property
    def is_bound(self) -> bool:
        """Whether prior or part know a bound alone."""
        return weigh.is_bound(self.prior) or weigh.is_bound(self.part)

    def log_weight_terms(
        self,
        key: Key[Array, ""],
        x: tuple[PyTree, PyTree],
        cond: PyTree = None,
        draw: Draw = weigh.draw,
    ) -> Terms:
        """Those of log p(y) and of log p(x | y), in nats; of neither y is a latent."""
        prior_key, part_key = jax.random.split(key)
        event, y = x
        prior = weigh.terms(self.prior, prior_key, y, cond, draw)
        part = weigh.terms(self.part, part_key, event, y if cond is None else (y, cond), draw)
        return Terms(
            part.log_likelihood + prior.log_likelihood,
            jnp.concatenate([part.log_prior, prior.log_prior]),
            jnp.concatenate([part.log_posterior, prior.log_posterior]),
        )

    def log_weight(
        self, key: Key[Array, ""], x: tuple[PyTree, PyTree], cond: PyTree = None
    ) -> Float[Array, ""]:
        """Log of an unbiased estimate of p(x, y | cond), in nats."""
        weigh.require_weights(self, "its log-weight")
        return self.log_weight_terms(key, x, cond).log_weight

    def log_bound(
        self, key: Key[Array, ""], x: tuple[PyTree, PyTree], cond: PyTree = None
    ) -> Float[Array, ""]:
        """Estimate of a lower bound on log p(x, y | cond), in nats."""
        return self.log_weight_terms(key, x, cond).log_weight

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> tuple[PyTree, PyTree]:
        """Draw y from its prior, then x given y."""
        prior_key, part_key = jax.random.split(key)
        y = self.prior.sample(prior_key, cond)
        return self.part.sample(part_key, y if cond is None else (y, cond)), y
