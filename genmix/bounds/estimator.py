"""A gradient estimator as a record: how it estimates, and for which bounds it is unbiased."""

import dataclasses
from collections.abc import Callable

from genmix.bounds.baselines import Baseline
from genmix.bounds.bound import Bound
from genmix.bounds.log_weight import Estimate


@dataclasses.dataclass(frozen=True)
class Estimator:
    """Where the gradient of a bound comes from; its value is always the bound's.

    Attributes:
        name: for messages.
        estimate: (key, weigh, bound, *, num_particles) -> Estimate; with a `baseline` it also takes
            `baseline=`, the prediction that `baseline.predict` gives.
        needs_linear: biased for bounds of several particles that are not linear in the log-weights.
        needs_smooth: biased for bounds that are not twice differentiable.
        reaches_terms: each term of a log-weight has its own gradient, so that terms may be weighed.
        min_particles: the fewest that it works with.
        baseline: what it subtracts from the log-weights, for score functions.
    """

    name: str
    estimate: Callable[..., Estimate]
    needs_linear: bool = False
    needs_smooth: bool = False
    reaches_terms: bool = False
    min_particles: int = 1
    baseline: Baseline | None = None

    def require(self, bound: Bound, num_particles: int) -> None:
        """Refuse a bound, or a number of particles, for which the gradient would be wrong.

        Raises:
            ValueError: saying why, and what to use.
        """
        if num_particles < self.min_particles:
            raise ValueError(
                f"num_particles must be at least {self.min_particles}"
                f"{f' for {self.name}' if self.min_particles > 1 else ''}, got {num_particles}."
            )
        if self.needs_linear and not bound.is_linear and num_particles > 1:
            raise ValueError(
                f"{self.name} leaves out a term of the gradient that vanishes for the ELBO alone, "
                f"so its gradient of {bound.name} is biased: use the "
                f"{'doubly ' if bound.is_smooth else ''}reparameterized estimator."
            )
        if self.needs_smooth and not bound.is_smooth:
            raise ValueError(
                f"{bound.name} is not twice differentiable in the log-weights, so {self.name} "
                "gradients of it are biased: use the reparameterized or the resampled estimator."
            )


def require_estimator(estimator: object) -> None:
    """Check that what is given as an estimator is one.

    Raises:
        TypeError: saying what to give instead.
    """
    if not isinstance(estimator, Estimator):
        raise TypeError(
            "estimator must be one of genmix.bounds, such as bounds.doubly_reparameterized or "
            "bounds.score_function(bounds.baselines.running_mean()), got "
            f"{getattr(estimator, '__name__', type(estimator).__name__)}."
        )
