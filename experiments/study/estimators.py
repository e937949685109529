"""Bounds on the likelihood and their gradient estimators, by their names on a command line."""

from typing import Any, Literal

from genmix import bounds, objectives
from genmix.objectives import Rate, Term

Objective = Literal["elbo", "iwae", "renyi", "vr-max"]
Estimator = Literal["reparameterized", "stl", "dreg", "weighted", "resampled", "score-function"]
_PATHWISE = {
    "reparameterized": bounds.reparameterized,
    "stl": bounds.sticking_the_landing,
    "dreg": bounds.doubly_reparameterized,
    "weighted": bounds.weighted,
    "resampled": bounds.resampled,
}


def bound(
    objective: Objective, k: int, estimator: Estimator, *, alpha: float = 0.5, beta: float = 1.0
) -> Term:
    """The bound as a term; score functions use leave-one-out baselines, of one particle a mean.

    Args:
        alpha: order of the Rényi bound.
        beta: weight of the rate of the ELBO.

    Raises:
        ValueError: if the gradient would be biased, or cannot weigh the rate.
    """
    if estimator == "score-function":
        baseline = bounds.baselines.leave_one_out if k > 1 else bounds.baselines.running_mean()
        chosen = bounds.score_function(baseline)
    else:
        chosen = _PATHWISE[estimator]
    options: dict[str, Any] = {"estimator": chosen}
    try:
        if objective == "renyi":
            return objectives.renyi(alpha, k, **options)
        if objective == "vr-max":
            return objectives.vr_max(k, **options)
        if objective == "iwae":
            return objectives.iwae(k, **options)
        return objectives.elbo(k, rate=None if beta == 1 else Rate(beta=beta), **options)
    except ValueError as error:
        raise ValueError(
            f"--objective {objective} with --k {k} and --estimator {estimator} do not go together: "
            f"{error}"
        ) from error
