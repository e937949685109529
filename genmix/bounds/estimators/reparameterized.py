"""Gradients through the samples: the plain estimator."""

from typing import Any

from jaxtyping import Array, Float, Key, PyTree

from genmix.bounds.bound import Bound
from genmix.bounds.estimator import Estimator
from genmix.bounds.log_weight import Estimate, Weigh, particles
from genmix.capabilities import Gradient, one_number, require_reparameterized


def draw(posterior: Any, key: Key[Array, ""], cond: PyTree) -> tuple[PyTree, Float[Array, ""]]:
    """Reparameterized z and log q(z | cond), with gradients through both.

    Raises:
        TypeError: if the posterior has no `sample_and_log_prob`, or is a proposal of whose
            log-weights not every function has an unbiased gradient.
        ValueError: if its log-density is not one number.
    """
    require_reparameterized(posterior)
    return _drawn(posterior, key, cond)


def draw_for_mean(
    posterior: Any, key: Key[Array, ""], cond: PyTree
) -> tuple[PyTree, Float[Array, ""]]:
    """`draw` where means of log-weights alone are differentiated, as in the ELBO."""
    require_reparameterized(posterior, Gradient.MEAN)
    return _drawn(posterior, key, cond)


def _drawn(posterior: Any, key: Key[Array, ""], cond: PyTree) -> tuple[PyTree, Float[Array, ""]]:
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
    draws = draw_for_mean if bound.is_linear else draw
    terms = particles(key, weigh, draws, num_particles)
    return Estimate(bound(terms.log_weight), terms)


estimator = Estimator("reparameterized", estimate, reaches_terms=True)
