"""Log-likelihoods of images in bits per dimension, with the constants of the preprocessing."""

import math

import numpy as np
from jaxtyping import ArrayLike, Float


def bits_per_dim(log_prob: float, num_dims: int) -> float:
    """-log_prob / (num_dims ln 2): for a log-probability of discrete levels, in nats."""
    if num_dims < 1:
        raise ValueError(f"num_dims must be at least 1, got {num_dims}.")
    return -log_prob / (num_dims * math.log(2))


def bits_per_dim_unit_interval(log_density: float, num_dims: int, num_levels: int = 256) -> float:
    """For a log-density of x = (level + u) / num_levels in [0, 1], in nats.

    The density of the levels themselves is that of x over num_levels, a dimension.

    Source: Theis, van den Oord & Bethge (2016), arXiv:1511.01844, section 3.1.
    """
    return bits_per_dim(log_density, num_dims) + math.log2(num_levels)


def bits_per_dim_logit(
    log_density: Float[ArrayLike, " n"],
    x: Float[ArrayLike, "n dim"],
    *,
    margin: float,
    num_levels: int = 256,
) -> float:
    """For log-densities of logit(margin + (1 - 2 margin) x), x = (level + u) / num_levels.

    Args:
        log_density: of each event in logit space, in nats.
        x: the events, dequantized, in [0, 1].
        margin: called lambda or alpha in papers.

    Source: Papamakarios, Pavlakou & Murray (2017), arXiv:1705.07057, appendix E.2.
    """
    if not 0 < margin < 0.5:
        raise ValueError(f"margin must be between 0 and 1/2, got {margin}.")
    events = np.asarray(x, np.float64)
    squeezed = margin + (1 - 2 * margin) * events
    log2_slope = np.log2(squeezed) + np.log2(1 - squeezed)
    value = bits_per_dim(float(np.mean(np.asarray(log_density))), events.shape[1])
    return value - math.log2(1 - 2 * margin) + math.log2(num_levels) + float(np.mean(log2_slope))
