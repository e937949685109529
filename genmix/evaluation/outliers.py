"""How strange an event is to a model, and how well such scores tell one data set from another.

Each score is larger the stranger. The likelihood by itself is often larger for simpler images of
another kind than for those that a model was trained on (Nalisnick et al., 2019, arXiv:1810.09136).
"""

from typing import Any

import jax
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Float, Key, PyTree, Real

from genmix.evaluation.elbo import elbo
from genmix.families.latent.latent_variable import LatentVariableModel
from genmix.families.posteriors.optimized import Optimized


def typicality(
    log_px: Float[ArrayLike, " n"], log_px_of_train: Float[ArrayLike, " m"]
) -> Float[np.ndarray, " n"]:
    """How far -log p(x) is from its mean over training events, in nats, to either side.

    Source: Nalisnick, Matsukawa, Teh & Lakshminarayanan (2019), arXiv:1906.02994, equation 3, for
    sets of one event.
    """
    return np.abs(np.asarray(log_px) - np.mean(np.asarray(log_px_of_train)))


def likelihood_regret(
    key: Key[Array, ""],
    model: Any,
    x: PyTree,
    *,
    num_steps: int = 50,
    optimizer: optax.GradientTransformation | None = None,
    num_samples: int = 20,
    rows_per_chunk: int = 10_000,
) -> Float[np.ndarray, " n"]:
    """By how much the ELBO of each event rises when q is fitted to it alone, in nats.

    It estimates what is at least 0, by draws that may say less.

    Args:
        num_steps: of gradient ascent from the encoder's q, by `Optimized`.
        optimizer: of the steps; `optax.adam(0.05)` if not given.
        num_samples: draws of z for each of the two bounds.
        rows_per_chunk: bounds memory, as in `evaluation.elbo`.

    Raises:
        TypeError: if the model is no LatentVariableModel, or its posterior cannot be moved.

    Source: Xiao, Yan & Amit (2020), arXiv:2003.02977, where the encoder itself is fitted.
    """
    if not isinstance(model, LatentVariableModel):
        raise TypeError(
            f"the regret is of a posterior, and {type(model).__name__} has none: use typicality."
        )
    steps = optax.adam(0.05) if optimizer is None else optimizer
    moved = Optimized(model.posterior, num_steps, optimizer=steps, through=False)
    fitted = LatentVariableModel(prior=model.prior, likelihood=model.likelihood, posterior=moved)
    options: dict[str, Any] = {"num_samples": num_samples, "rows_per_chunk": rows_per_chunk}
    estimate = lambda part: elbo(jax.random.clone(key), part, x, **options)
    before, after = estimate(model), estimate(fitted)
    value = lambda found: found.log_likelihood - np.sum(found.rates, axis=1)
    return value(after) - value(before)


def auroc(inliers: Real[ArrayLike, " n"], outliers: Real[ArrayLike, " m"]) -> float:
    """Area under the ROC curve: how probably an outlier scores above an inlier, ties by halves.

    1/2 is chance. It costs a sort.

    Raises:
        ValueError: if one of them is empty, or a score is NaN.
    """
    inliers, outliers = np.sort(np.asarray(inliers)), np.asarray(outliers)
    if not len(inliers) or not len(outliers):
        raise ValueError(
            f"auroc compares two sets, got {len(inliers)} inliers and {len(outliers)} outliers."
        )
    if np.isnan(inliers).any() or np.isnan(outliers).any():
        raise ValueError("auroc needs scores that are numbers, got NaN.")
    below = np.searchsorted(inliers, outliers, side="left")
    not_above = np.searchsorted(inliers, outliers, side="right")
    return float(np.mean(below + not_above) / (2 * len(inliers)))
