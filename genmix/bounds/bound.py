"""A bound as a record: a function of k log-weights, and what estimators must know of it."""

import dataclasses
from collections.abc import Callable

from jaxtyping import Array, Float

LogWeights = Float[Array, " k"]


@dataclasses.dataclass(frozen=True)
class Bound:
    """A function of k log-weights, non-decreasing in each, in nats.

    Attributes:
        value: log-weights [k] -> bound.
        name: what it is called among the metrics.
        is_linear: in the log-weights, as the mean of them is.
        is_smooth: twice differentiable in the log-weights.
        path_factors: 1 - (d a_i / dlog w_i) / a_i from a = dL / dlog w, in closed form: how much
            less a particle's path counts than its weight (`doubly_reparameterized`). By a Hessian
            of k x k if None.
    """

    value: Callable[[LogWeights], Float[Array, ""]]
    name: str = "bound"
    is_linear: bool = False
    is_smooth: bool = True
    path_factors: Callable[[LogWeights], LogWeights] | None = None

    def __call__(self, log_weights: LogWeights) -> Float[Array, ""]:
        return self.value(log_weights)
