"""Mutual information: lower bounds, and its place in the ELBO."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int


def barber_agakov(log_q: Float[Array, " n"], entropy: Float[ArrayLike, ""]) -> Float[Array, ""]:
    """Estimate of H(c) + E[log q(c | x)] <= I(c; x), in nats.

    Args:
        log_q: log q(c | x) for n pairs from the joint distribution of c and x.
        entropy: H(c), in nats.

    Source: Barber & Agakov (2003), NIPS 16; Chen et al. (2016), arXiv:1606.03657, equation 5.
    """
    return jnp.asarray(entropy) + jnp.mean(log_q)


def info_nce(scores: Float[Array, "n n"]) -> Float[Array, ""]:
    """Estimate of log n + E[log softmax of x_i's score among all x_j] <= I(x; y), in nats.

    At most log n: much information takes large batches. It is largest where the scores are
    log p(y | x) but for a function of y.

    Args:
        scores: [i, j] of the pair (x_j, y_i), for n pairs from the joint distribution.

    Source: van den Oord, Li & Vinyals (2018), arXiv:1807.03748; Poole et al. (2019),
    arXiv:1905.06922, equation 10.
    """
    own = jnp.diagonal(scores) - jax.nn.logsumexp(scores, axis=1)
    return jnp.log(len(scores)) + jnp.mean(own)


class Decomposition(NamedTuple):
    """The ELBO, on average over a data set, as reconstruction - information - marginal_kl.

    Attributes:
        reconstruction: E log p(x | z).
        information: I(x; z) under q(z | x) and the empirical distribution of x.
        marginal_kl: KL(q(z) || p(z)) of the aggregated posterior q(z), the mean of q(z | x).
    """

    reconstruction: Float[Array, ""]
    information: Float[Array, ""]
    marginal_kl: Float[Array, ""]

    @property
    def rate(self) -> Float[Array, ""]:
        """KL(q(z | x) || p(z))."""
        return self.information + self.marginal_kl

    @property
    def elbo(self) -> Float[Array, ""]:
        """The ELBO."""
        return self.reconstruction - self.rate


def decompose(
    log_likelihood: Float[Array, ""],
    log_prior: Float[Array, ""],
    log_posteriors: Float[Array, " n"],
    index: Int[ArrayLike, ""],
) -> Decomposition:
    """Terms of the ELBO for one z drawn from q(z | x_i), in nats.

    Their means over z and i are unbiased if log_posteriors has all of the data set. With a part
    of it, x_i among them, information is too small, at most the log of their number, and
    marginal_kl too large by as much.

    Args:
        log_likelihood: log p(x_i | z).
        log_prior: log p(z).
        log_posteriors: log q(z | x_j) for each x_j of the data set.
        index: i.

    Source: Hoffman & Johnson (2016), "ELBO surgery".
    """
    log_own = log_posteriors[index]
    log_marginal = jax.nn.logsumexp(log_posteriors) - jnp.log(len(log_posteriors))
    return Decomposition(log_likelihood, log_own - log_marginal, log_marginal - log_prior)
