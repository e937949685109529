"""Autoencoders with codes for a latent: each vector of the encoder is rounded to a codebook's."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key, PyTree

from genmix.bounds.log_weight import Draw, Terms
from genmix.capabilities import Density
from genmix.families import weigh
from genmix.families.roles import require_bounded
from genmix.nets.outputs import replaced

Codes = Int[Array, "*places"]
Vectors = Float[Array, "*places dim"]


class Codebook(nnx.Module):
    """Vectors e_0, ..., e_{K-1}: `codebook(codes)` are those of codes, so it is a network's start.

    Raises:
        ValueError: if there are fewer than two codes, or they have no entries.
    """

    def __init__(self, num_codes: int, dim: int, *, rngs: nnx.Rngs):
        if num_codes < 2 or dim < 1:
            raise ValueError(
                f"Codebook needs num_codes >= 2 and dim >= 1, got {num_codes} and {dim}."
            )
        self.vectors = nnx.Param(jax.random.normal(rngs.params(), (num_codes, dim)))

    def __call__(self, codes: Codes) -> Vectors:
        return self.vectors[...][codes]

    def nearest(self, z: Vectors) -> Codes:
        """The code whose vector is nearest to each z; no gradient."""
        e = self.vectors[...]
        if z.shape[-1] != e.shape[1]:
            raise ValueError(
                f"the codebook has vectors of {e.shape[1]} entries, on the last axis of what the "
                f"encoder gives, got {z.shape}."
            )
        # |z - e|^2 less |z|^2, as one product of matrices.
        distance = jnp.sum(e**2, axis=1)[None] - 2 * z.reshape(-1, e.shape[1]) @ e.T
        return jnp.argmin(distance, axis=1).astype(jnp.int32).reshape(z.shape[:-1])


class Quantized(NamedTuple):
    """What the encoder gives for one event, and what that is rounded to."""

    encoded: Vectors
    codes: Codes
    vectors: Vectors  # the codebook's, with a gradient for it alone


class VectorQuantized(nnx.Module):
    """p(x, k) = p(x | e_k) p(k) at the codes k of x: those nearest to the encoder's vectors.

    A code is discrete and q(k | x) is all at one, so log q is 0 and the log-weight, in nats,
    log p(x | e_k) + log p(k): never more than log p(x), which is a sum over all codes. It bounds;
    means of its exponential, which do not vary, bound no better.

    The likelihood's gradient in e_k is the encoder's (straight through), and the codebook has none
    from it: `objectives.codebook` or `objectives.moving_codebook` move it, and
    `objectives.commitment` keeps the encoder near it:
    `elbo() + codebook() + 0.25 * commitment()`. The prior learns the codes meanwhile, without a
    say in what they are. A prior that is itself quantized, given codes for an event, makes codes of
    two levels.

    Args:
        prior: p(k), of integers of the encoder's places, such as a PixelCNN.
        likelihood: p(x | e_k), given vectors [*places, dim].
        encoder: x -> vectors [*places, dim].

    Raises:
        TypeError: if prior or likelihood have no density.

    Source: van den Oord, Vinyals & Kavukcuoglu (2017), arXiv:1711.00937, section 3.
    """

    def __init__(
        self,
        *,
        prior: Density,
        likelihood: Density,
        encoder: Callable[[PyTree], Array],
        codebook: Codebook,
    ):
        require_bounded(prior, "prior")
        require_bounded(likelihood, "likelihood")
        self.prior: Any = prior
        self.likelihood: Any = likelihood
        self.encoder, self.codebook = encoder, codebook

    @property
    def is_bound(self) -> bool:
        """Whether prior or likelihood know a bound alone."""
        return weigh.is_bound(self.prior) or weigh.is_bound(self.likelihood)

    def quantized(self, x: PyTree, cond: PyTree = None) -> Quantized:
        """Codes of x, and their vectors."""
        encoded = self.encoder(x if cond is None else (x, cond))
        codes = self.codebook.nearest(encoded)
        return Quantized(encoded, codes, self.codebook(codes))

    def log_weight_terms(
        self, key: Key[Array, ""], x: PyTree, cond: PyTree = None, draw: Draw = weigh.draw
    ) -> Terms:
        """log p(x | e_k), log p(k) and log q = 0, in nats; more layers if the prior has some."""
        prior_key, likelihood_key = jax.random.split(key)
        encoded, codes, vectors = self.quantized(x, cond)
        # Exactly the codebook's vector, with the gradient of the encoder's.
        z = jax.lax.stop_gradient(vectors) + (encoded - jax.lax.stop_gradient(encoded))
        given = z if cond is None else (z, cond)
        prior = weigh.terms(self.prior, prior_key, codes, cond, draw)
        likelihood = weigh.terms(self.likelihood, likelihood_key, x, given, draw)
        return Terms(
            likelihood.log_likelihood,
            jnp.concatenate([prior.log_likelihood[None], prior.log_prior, likelihood.log_prior]),
            jnp.concatenate([jnp.zeros(1), prior.log_posterior, likelihood.log_posterior]),
        )

    def log_weight(self, key: Key[Array, ""], x: PyTree, cond: PyTree = None) -> Float[Array, ""]:
        """log p(x, k), in nats, a lower bound on log p(x | cond)."""
        weigh.require_weights(self, "its log-weight")
        return self.log_weight_terms(key, x, cond).log_weight

    def log_bound(self, key: Key[Array, ""], x: PyTree, cond: PyTree = None) -> Float[Array, ""]:
        """The same, for a prior or a likelihood that know a bound alone."""
        return self.log_weight_terms(key, x, cond).log_weight

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> PyTree:
        """Draw codes from the prior, then x given their vectors."""
        prior_key, likelihood_key = jax.random.split(key)
        z = self.codebook(self.prior.sample(prior_key, cond))
        return self.likelihood.sample(likelihood_key, z if cond is None else (z, cond))

    def encode(self, key: Key[Array, ""], x: PyTree, cond: PyTree = None) -> Codes:
        """The codes of x; nothing is drawn."""
        del key
        return self.quantized(x, cond).codes

    def decode(self, codes: Codes, cond: PyTree = None) -> PyTree:
        """Mean of x given codes."""
        z = self.codebook(codes)
        return self.likelihood.mean(z if cond is None else (z, cond))


M = TypeVar("M")


def started(key: Key[Array, ""], model: M, x: PyTree) -> M:
    """The model with codebooks of encodings, drawn from those of a batch without replacement.

    A codebook far from what the encoder gives has codes that are never nearest, and never learn.

    Args:
        x: events along the first axis of each array.

    Raises:
        ValueError: if the batch gives fewer vectors than the codebook has.
    """
    if not isinstance(model, VectorQuantized):
        return model
    codes_key, prior_key = jax.random.split(key)
    encoded = jax.vmap(model.encoder)(x)
    num_codes, dim = model.codebook.vectors.shape
    drawn = drawn_from(codes_key, encoded.reshape(-1, dim), num_codes)
    codebook = replaced(model.codebook, vectors=nnx.Param(drawn))
    model = replaced(model, codebook=codebook)
    prior = started(prior_key, model.prior, jax.vmap(codebook.nearest)(encoded))
    return replaced(model, prior=prior)


def drawn_from(
    key: Key[Array, ""], vectors: Float[Array, "n dim"], num_codes: int
) -> Float[Array, "codes dim"]:
    """As many of the vectors as there are codes, without replacement.

    Raises:
        ValueError: if there are fewer.
    """
    if len(vectors) < num_codes:
        raise ValueError(
            f"the codebook has {num_codes} codes, more than the {len(vectors)} vectors that the "
            "encoder gives for the batch: use a larger batch, or fewer codes."
        )
    return jax.random.choice(key, vectors, (num_codes,), replace=False)
