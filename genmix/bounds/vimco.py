"""VIMCO: the importance-weighted bound by score functions, each particle judged by the others."""

from jaxtyping import Array, Key

from genmix.bounds import baselines, iwae, score_function
from genmix.bounds.log_weight import Estimate, Weigh


def estimate(key: Key[Array, ""], weigh: Weigh, *, num_particles: int) -> Estimate:
    """Importance-weighted bound of k >= 2 particles, with VIMCO gradients.

    Source: Mnih & Rezende (2016), arXiv:1602.06725, equation 7.
    """
    return score_function.estimate(
        key, weigh, iwae.bound, num_particles=num_particles, baseline=baselines.leave_one_out
    )
