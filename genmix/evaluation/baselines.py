"""What a model without any dependence between pixels reaches: the first row of a table."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float

from genmix.data.dataset import Dataset
from genmix.evaluation.bits_per_dim import bits_per_dim


def independent_bernoulli(
    train: Float[np.ndarray, "n ..."], x: Float[np.ndarray, "m ..."]
) -> Float[np.ndarray, " m"]:
    """Log p(x) in nats of each event under independent Bernoulli entries fitted to `train`.

    The means of `train` (which may hold probabilities) are smoothed by one observation of each
    outcome, so that no event is impossible.
    """
    mean = (np.sum(train, axis=0, dtype=np.float64) + 1) / (len(train) + 2)
    log_prob = np.where(x == 1, np.log(mean), np.log1p(-mean))
    return np.sum(log_prob.reshape(len(x), -1), axis=1)


def independent_histogram(
    train: Float[np.ndarray, "n ..."], x: Float[np.ndarray, "m ..."], *, num_levels: int
) -> Float[np.ndarray, " m"]:
    """Log p(x) in nats of each event under independent histograms, one an entry.

    Levels are whole numbers from 0 to num_levels - 1; counts are smoothed by one of each level.
    """
    columns = train.reshape(len(train), -1).astype(np.int64)
    counts = np.stack([np.bincount(c, minlength=num_levels) for c in columns.T]) + 1.0
    log_prob = np.log(counts / counts.sum(axis=1, keepdims=True))
    levels = x.reshape(len(x), -1).astype(np.int64)
    return np.sum(log_prob[np.arange(levels.shape[1]), levels], axis=1)


def row(model: str, log_px: Float[np.ndarray, " n"]) -> dict[str, Any]:
    """A table's row: the NLL in nats, with its standard error over the events."""
    error = np.std(log_px, ddof=1) / np.sqrt(len(log_px))
    return {
        "model": model,
        "nll": float(-np.mean(log_px)),
        "nll_standard_error": float(error),
    }


def independent_pixels(dataset: Dataset) -> dict[str, Any]:
    """The row of independent pixels fitted to the training images: of bits, or of levels.

    It has bits per dimension, too.
    """
    if dataset.num_levels == 2:
        entry = row("independent Bernoulli", independent_bernoulli(dataset.train, dataset.test))
    else:
        levels = dataset.num_levels
        log_px = independent_histogram(dataset.train, dataset.test, num_levels=levels)
        entry = row("independent histograms", log_px)
    bits = lambda nats: bits_per_dim(-nats, math.prod(dataset.test.shape[1:]))
    return entry | {
        "bits_per_dim": bits(entry["nll"]),
        "bits_per_dim_standard_error": bits(entry["nll_standard_error"]),
    }
