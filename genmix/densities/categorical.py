"""Categorical distribution over the indices 0..n-1 by its logits; one event."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int32, Integer, Key

from genmix.densities.bernoulli import mass_times
from genmix.densities.multivariate_normal import check_shape

Logits = Float[Array, " _"]


def log_prob(x: Integer[ArrayLike, ""], logits: Logits) -> Float[Array, ""]:
    """Log-probability of the index x under softmax(logits [n]), in nats.

    -inf with zero gradient where x is not in 0..n-1, and -inf where the logit of x is -inf. NaN
    where a logit is NaN or inf, or all are -inf.
    Source: Bishop (2006), Pattern Recognition and Machine Learning, section 2.2.
    """
    x = jnp.asarray(x)
    inside = (x >= 0) & (x < logits.size)
    value = jax.nn.log_softmax(logits)[jnp.where(inside, x, 0)]
    return jnp.where(inside | jnp.isnan(value), value, -jnp.inf)


def sample(key: Key[Array, ""], logits: Logits) -> Int32[Array, ""]:
    """One draw, an index; no gradient.

    An integer cannot say NaN: where `log_prob` is NaN, the index means nothing.
    """
    return jax.random.categorical(key, logits).astype(jnp.int32)


def entropy(logits: Logits) -> Float[Array, ""]:
    """Entropy in nats; logits of -inf are allowed (0 log 0 = 0), NaN where `log_prob` is."""
    log_p = jax.nn.log_softmax(logits)
    return -jnp.sum(mass_times(jnp.exp(log_p), log_p))


def kl(logits_p: Logits, logits_q: Logits) -> Float[Array, ""]:
    """KL(p || q) in nats, with 0 log 0 = 0.

    inf where q gives probability 0 (a logit of -inf) to an index that p does not; a probability of
    p that underflows counts as 0. NaN where the log-probability of p or q is.

    Raises:
        ValueError: if the two differ in their number of logits.
    """
    check_shape("logits_q", logits_q, logits_p.shape)
    log_p, log_q = jax.nn.log_softmax(logits_p), jax.nn.log_softmax(logits_q)
    return jnp.sum(mass_times(jnp.exp(log_p), log_p - log_q))
