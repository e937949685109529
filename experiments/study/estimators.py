"""Gradient estimators by name, and which of them go with which bound: one answer for all."""

from typing import Literal

from genmix import bounds

Estimator = Literal["reparameterized", "stl", "dreg", "weighted", "resampled", "score-function"]

ESTIMATORS = {
    "reparameterized": bounds.reparameterized.estimate,
    "stl": bounds.sticking_the_landing.estimate,
    "dreg": bounds.doubly_reparameterized.estimate,
    "weighted": bounds.weighted.estimate,
    "resampled": bounds.resampled.estimate,
    "score-function": bounds.score_function.estimate,
}


def require_unbiased(objective: str, k: int, estimator: str) -> None:
    """Refuse an estimator whose gradients are not those of the bound.

    Args:
        objective: "elbo", "iwae", "renyi" or "vr-max"; of one particle all are the ELBO.

    Raises:
        ValueError: naming one that is right.
    """
    if objective != "elbo" and k > 1 and estimator == "stl":
        remedy = "reparameterized" if objective == "vr-max" else "dreg"
        raise ValueError(
            f"stl gradients of {objective} are biased, since the score term that they drop "
            f"vanishes for the ELBO alone: use --estimator {remedy}."
        )
