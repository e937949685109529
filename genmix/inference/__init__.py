"""Learning in closed form: EM, principal components, mean field by coordinate ascent."""

from genmix.inference import (
    bayesian_mixture,
    bayesian_regression,
    coordinate_ascent,
    em,
    em_components,
    normal_gamma,
    pca,
)

__all__ = [
    "bayesian_mixture",
    "bayesian_regression",
    "coordinate_ascent",
    "em",
    "em_components",
    "normal_gamma",
    "pca",
]
