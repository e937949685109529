"""A sum over classes, bounded by a classifier that learns what they are."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.bounds.log_weight import Draw, Terms
from genmix.capabilities import Enumerable
from genmix.families import weigh
from genmix.families.latent.pairs import Pairs
from genmix.families.latent.summed import Summed


class Classified(nnx.Module):
    """U(x) = sum over y of q(y | x) (L(x, y) - log q(y | x)), with L(x, y) <= log p(x, y).

    It is a bound on log p(x) that falls short of the sum's own, logsumexp_y L(x, y), by
    KL(q(y | x) || softmax_y L(x, y)): so it teaches the classifier q, which knows the class at the
    cost of one network. With L a variational autoencoder given y this is M2; labelled examples have
    L(x, y) itself, the ELBO of `pairs`, which says nothing to q: add
    `weight * classification()`.

    Args:
        model: the sum over classes.
        classifier: q(y | x), with the same support as the sum's prior.

    Raises:
        TypeError: if the model is no sum, or the classifier has no support.

    Source: Kingma et al. (2014), arXiv:1406.5298, equations 6 to 9.
    """

    def __init__(self, *, model: Any, classifier: Any):
        if not isinstance(model, Summed):
            raise TypeError(
                f"Classified needs a Summed, whose classes it learns, got {type(model).__name__}."
            )
        if not isinstance(classifier, Enumerable):
            raise TypeError(
                f"{type(classifier).__name__} cannot be the classifier: it has no support(x), all "
                "classes with their log-probabilities, as OneHot has."
            )
        self.model: Summed = model
        self.classifier: Enumerable = classifier

    is_bound = True

    @property
    def pairs(self) -> Pairs:
        """The density of (x, y)."""
        return self.model.pairs

    def log_weight_terms(
        self, key: Key[Array, ""], x: PyTree, cond: PyTree = None, draw: Draw = weigh.draw
    ) -> Terms:
        """One term: U(x), in nats."""
        log_q = self.log_posterior(key, x, cond)
        log_joint = self.model.log_joint(key, x, cond, draw)
        q = jnp.exp(log_q)
        value = jnp.sum(jnp.where(q > 0, q * (log_joint - jnp.where(q > 0, log_q, 0.0)), 0.0))
        return Terms(value, jnp.zeros(0, value.dtype), jnp.zeros(0, value.dtype))

    def log_bound(self, key: Key[Array, ""], x: PyTree, cond: PyTree = None) -> Float[Array, ""]:
        """U(x), in nats."""
        return self.log_weight_terms(key, x, cond).log_weight

    def log_posterior(
        self, key: Key[Array, ""], x: PyTree, cond: PyTree = None
    ) -> Float[Array, " n"]:
        """log q(y | x) of each class, in nats; nothing is drawn."""
        del key
        log_q = self.classifier.support(x if cond is None else (x, cond))[1]
        num_classes = len(self.model.prior.support(cond)[1])
        if len(log_q) != num_classes:
            raise ValueError(
                f"the classifier must have the prior's {num_classes} classes, got {len(log_q)}."
            )
        return log_q

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> PyTree:
        """Draw y from its prior, then x given y."""
        return self.model.sample(key, cond)
