"""Gradients through the samples: the plain estimator."""

from typing import Any

from jaxtyping import Array, Float, Key, PyTree

from genmix.bounds.bound import Bound
from genmix.bounds.estimator import Estimator
from genmix.bounds.log_weight import Estimate, Weigh, particles
from genmix.capabilities import one_number, require_reparameterized


def draw(posterior: Any, key: Key[Array, ""], cond: PyTree) -> tuple[PyTree, Float[Array, ""]]:
    """Reparameterized z and log q(z | cond), with gradients through both.

    Raises:
        TypeError: if the posterior has no `sample_and_log_prob`.
        ValueError: if its log-density is not one number.
    """
    require_reparameterized(posterior)
    z, log_q = posterior.sample_and_log_prob(key, cond)
    return z, one_number(log_q, posterior, "sample_and_log_prob")


def estimate(
    key: Key[Array, ""],
    weigh: Weigh,
    bound: Bound,
    *,
    num_particles: int,
) -> Estimate:
    """Bound of k particles, differentiated as it stands.

    Unbiased for every bound; for the importance-weighted one the signal-to-noise ratio of the
    posterior's gradient falls as k grows (`doubly_reparameterized` cures that).

    Source: Kingma & Welling (2014), arXiv:1312.6114; Burda et al. (2016), arXiv:1509.00519.
    """
    terms = particles(key, weigh, draw, num_particles)
    return Estimate(bound(terms.log_weight), terms)


estimator = Estimator("reparameterized", estimate, reaches_terms=True)
