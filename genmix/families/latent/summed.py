"""A finite latent, summed over exactly."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.bounds.estimators import reparameterized
from genmix.bounds.log_weight import Draw, Terms
from genmix.capabilities import Density, Enumerable, require_same
from genmix.families import shapes, weigh
from genmix.families.latent.pairs import Pairs
from genmix.families.roles import require_weighted
from genmix.nets import state


class Summed(nnx.Module):
    """p(x) = sum over y of p(y) p(x | y), for y of finitely many values, such as classes.

    Its log-weight is the logsumexp of log p(y) and the part's log-weight given y: a sum of unbiased
    estimates is unbiased. So no posterior of y is needed; the part may have latents of its own. It
    costs as many evaluations as y has values.

    Latents inside are drawn by the reparameterized estimator whichever trains the model, since the
    others need terms that a sum does not have.

    Args:
        prior: p(y | c), with a finite support.
        part: p(x | y), given y, or the pair (y, c) with a condition.

    Raises:
        TypeError: if the prior has no finite support, or the part no log-weight.
        ValueError: if the part's condition has another shape than the prior's values.

    Source: Kingma et al. (2014), arXiv:1406.5298, equation 7.
    """

    def __init__(self, *, prior: Any, part: Density):
        if not isinstance(prior, Enumerable):
            raise TypeError(
                f"{type(prior).__name__} cannot be summed over: it has no support(), all its "
                "values with their log-probabilities. Use a LatentVariableModel."
            )
        require_weighted(part, "part of a sum")
        weigh.require_weights(part, "a sum over classes")
        value = {
            "the prior": shapes.event_shape(prior),
            "the part's condition": shapes.cond_shape(part),
        }
        require_same("Summed", "y", value)
        self.prior: Any = prior
        self.part: Any = part

    @property
    def event_shape(self) -> tuple[int, ...] | None:
        return shapes.event_shape(self.part)

    def log_weight_terms(
        self, key: Key[Array, ""], x: PyTree, cond: PyTree = None, draw: Draw = weigh.draw
    ) -> Terms:
        """One term: the log-weight, in nats."""
        log_joint = self.log_joint(key, x, cond, draw)
        possible = jnp.any(log_joint > -jnp.inf) | jnp.any(jnp.isnan(log_joint))
        value = jax.nn.logsumexp(jnp.where(possible, log_joint, 0.0))
        value = jnp.where(possible, value, -jnp.inf)
        return Terms(value, jnp.zeros(0, value.dtype), jnp.zeros(0, value.dtype))

    def log_weight(self, key: Key[Array, ""], x: PyTree, cond: PyTree = None) -> Float[Array, ""]:
        """Log of an unbiased estimate of p(x | cond), in nats; exact if the part is."""
        return self.log_weight_terms(key, x, cond).log_weight

    def log_posterior(
        self, key: Key[Array, ""], x: PyTree, cond: PyTree = None
    ) -> Float[Array, " n"]:
        """log p(y | x) of each value of y, in nats; exact if the part is."""
        return jax.nn.log_softmax(self.log_joint(key, x, cond, weigh.draw))

    def log_joint(
        self, key: Key[Array, ""], x: PyTree, cond: PyTree = None, draw: Draw = weigh.draw
    ) -> Float[Array, " n"]:
        """log p(y) and the part's log-weight given y, added, for each value of y, in nats."""
        inner = draw if draw is weigh.draw else reparameterized.draw

        def one(key: Key[Array, ""], y: PyTree) -> Float[Array, ""]:
            given = y if cond is None else (y, cond)
            return weigh.terms(state.fresh(self.part), key, x, given, inner).log_weight

        values, log_prior = self.prior.support(cond)
        return log_prior + jax.vmap(one)(jax.random.split(key, len(log_prior)), values)

    @property
    def pairs(self) -> Pairs:
        """The same distribution with y seen: a density of (x, y)."""
        return Pairs(prior=self.prior, part=self.part)

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> PyTree:
        """Draw y from its prior, then x given y.

        Raises:
            TypeError: if the part does not draw.
        """
        choice_key, part_key = jax.random.split(key)
        values, log_prior = self.prior.support(cond)
        index = jax.random.categorical(choice_key, log_prior)
        y = jax.tree.map(lambda a: a[index], values)
        return self.part.sample(part_key, y if cond is None else (y, cond))
