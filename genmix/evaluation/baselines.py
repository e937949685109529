"""What a model without any dependence between pixels reaches: the first row of a table."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from genmix.data.dataset import Dataset
from genmix.evaluation.bits_per_dim import bits_per_dim
from genmix.evaluation.standard_error import standard_error


def independent_bernoulli(
    train: Float[np.ndarray, "n ..."], x: Float[np.ndarray, "m ..."]
) -> Float[np.ndarray, " m"]:
    """Log p(x) in nats of each event under independent Bernoulli entries fitted to `train`.

    The means of `train` (which may hold probabilities) are smoothed by one observation of each
    outcome, so that no binary event is impossible; -inf where an event has other values.

    Raises:
        ValueError: if a value of `train` is NaN or outside [0, 1], or events differ in shape.
    """
    train, x = np.asarray(train), np.asarray(x)
    _require_one_shape(train, x)
    if not np.all((train >= 0) & (train <= 1)):
        raise ValueError(
            f"train must lie in [0, 1], got values from {train.min()} to {train.max()}; divide "
            "grey levels by their largest value, or use independent_histogram."
        )
    mean = (np.sum(train, axis=0, dtype=np.float64) + 1) / (len(train) + 2)
    log_prob = np.select([x == 1, x == 0], [np.log(mean), np.log1p(-mean)], -np.inf)
    return np.sum(log_prob.reshape(len(x), -1), axis=1)


def independent_histogram(
    train: Float[np.ndarray, "n ..."], x: Float[np.ndarray, "m ..."], *, num_levels: int
) -> Float[np.ndarray, " m"]:
    """Log p(x) in nats of each event under independent histograms, one an entry.

    Levels are whole numbers from 0 to num_levels - 1; counts are smoothed by one of each level, and
    an event that has other values gets -inf.

    Raises:
        ValueError: if `train` has other values, or events differ in shape.
    """
    train, x = np.asarray(train), np.asarray(x)
    _require_one_shape(train, x)
    if not np.all(_are_levels(train, num_levels)):
        raise ValueError(
            f"train must hold whole numbers from 0 to {num_levels - 1}, got values from "
            f"{train.min()} to {train.max()}."
        )
    columns = train.reshape(len(train), -1).astype(np.int64)
    counts = np.stack([np.bincount(c, minlength=num_levels) for c in columns.T]) + 1.0
    log_prob = np.log(counts / counts.sum(axis=1, keepdims=True))
    flat = x.reshape(len(x), -1)
    inside = _are_levels(flat, num_levels)
    levels = np.where(inside, flat, 0).astype(np.int64)
    found = log_prob[np.arange(levels.shape[1]), levels]
    return np.sum(np.where(inside, found, -np.inf), axis=1)


def markov_bernoulli(
    train: Sequence[Float[np.ndarray, "_ _"]],
    x: Sequence[Float[np.ndarray, "_ _"]],
) -> Float[np.ndarray, " m"]:
    """Log p(x) in nats of each sequence of bits, every entry a Markov chain of its own.

    Initial and transition probabilities are those of `train`, smoothed by one observation of each
    outcome.

    Raises:
        ValueError: if there are no sequences to fit, steps differ in shape or are not bits.
    """
    if not len(train) or len({s.shape[1:] for s in [*train, *x]}) != 1:
        raise ValueError("train and x must hold sequences with steps of one shape, at least one.")
    if any(not np.all((s == 0) | (s == 1)) for s in [*train, *x]):
        raise ValueError("train and x must hold bits, 0 or 1.")
    share = lambda ones, count: (ones + 1.0) / (count + 2.0)
    old, new = np.concatenate([s[:-1] for s in train]), np.concatenate([s[1:] for s in train])
    initial = share(np.sum([s[0] for s in train], axis=0), len(train))
    after = {bit: share(np.sum(new * (old == bit), axis=0), np.sum(old == bit, axis=0))
             for bit in (0, 1)}  # fmt: skip

    def log_prob(s: np.ndarray) -> float:
        transition = np.where(s[:-1] == 1, after[1], after[0])
        p = np.concatenate([initial[None], transition])
        return float(np.sum(np.where(s == 1, np.log(p), np.log1p(-p))))

    return np.array([log_prob(s) for s in x])


def _are_levels(x: np.ndarray, num_levels: int) -> np.ndarray:
    return (x >= 0) & (x < num_levels) & (x == np.floor(x))


def _require_one_shape(train: np.ndarray, x: np.ndarray) -> None:
    if train.shape[1:] != x.shape[1:] or not len(train):
        raise ValueError(
            f"train and x must hold events of one shape, got {train.shape} and {x.shape}."
        )


def row(model: str, log_px: Float[np.ndarray, " n"]) -> dict[str, Any]:
    """A table's row: the NLL in nats, with its standard error over the events."""
    return {
        "model": model,
        "nll": float(-np.mean(log_px)),
        "nll_standard_error": standard_error(log_px),
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
