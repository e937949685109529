"""Parzen estimates: the density of a sample, smoothed. They mislead.

A generator that only repeats the training images, or the centres of their clusters, scores above
the data themselves, and in many dimensions the estimate is far from log p(x) even with millions of
samples (Theis, van den Oord & Bethge 2016, arXiv:1511.01844). It is here because older papers
report nothing else; compare models by their NLL, or by `evaluation.sample_quality`.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from genmix.densities import normal
from genmix.evaluation.standard_error import standard_error

Rows = Float[ArrayLike, "_ ..."]


def log_density(samples: Rows, x: Rows, bandwidth: float) -> Float[np.ndarray, " n"]:
    """Log of the mean over samples of N(x; sample, bandwidth^2 I), in nats, for each event x.

    Raises:
        ValueError: if the bandwidth is not positive, or samples and x differ in shape.
    Source: Parzen (1962), Annals of Mathematical Statistics 33; Breuleux, Bengio & Vincent (2011).
    """
    samples, x = np.asarray(samples), np.asarray(x)
    if not bandwidth > 0:
        raise ValueError(f"bandwidth must be positive, got {bandwidth}.")
    if samples.shape[1:] != x.shape[1:] or not len(samples):
        raise ValueError(
            f"samples and x must be events of one shape, got {samples.shape} and {x.shape}."
        )
    flat = lambda a: jnp.asarray(a.reshape(len(a), -1))
    return np.asarray(_log_density(flat(samples), flat(x), bandwidth))


@jax.jit
def _log_density(samples: Array, x: Array, bandwidth: Array) -> Array:
    def one(x: Array) -> Array:
        log_p = jnp.sum(normal.log_prob(x[None], samples, bandwidth), axis=1)
        return jax.nn.logsumexp(log_p) - jnp.log(len(samples))

    return jax.lax.map(one, x)


class Parzen(NamedTuple):
    """A Parzen estimate, in nats an event."""

    log_likelihood: float
    standard_error: float
    bandwidth: float


def evaluate(
    samples: Rows,
    x: Rows,
    valid: Rows,
    *,
    bandwidths: Sequence[float] = tuple(np.geomspace(0.05, 1.0, 10).tolist()),
) -> Parzen:
    """Estimate on x, with the bandwidth that is best on validation events.

    Papers take 10,000 samples of grey images in [0, 1]. The figure depends on their number, and
    misleads as said above.
    """
    score = functools.partial(log_density, samples)
    best = max(bandwidths, key=lambda h: float(np.mean(score(valid, h))))
    log_px = score(x, best)
    error = standard_error(log_px)
    return Parzen(float(np.mean(log_px)), error, float(best))
