"""Learning in closed form: expectation-maximization, mean field by coordinate ascent."""

from genmix.inference import (
    bayesian_mixture,
    bayesian_regression,
    coordinate_ascent,
    em,
    em_components,
    normal_gamma,
)

__all__ = [
    "bayesian_mixture",
    "bayesian_regression",
    "coordinate_ascent",
    "em",
    "em_components",
    "normal_gamma",
]
