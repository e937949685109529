"""Parts: conditional distributions with stated capabilities, which combine into models."""

from genmix.families.bernoulli import Bernoulli
from genmix.families.categorical import Categorical
from genmix.families.discretized_logistic import DiscretizedLogistic
from genmix.families.factorized_normal import FactorizedNormal
from genmix.families.flow import (
    Flow,
    FlowDensity,
    FlowPosterior,
    SampledFlow,
    transformed,
)
from genmix.families.full_normal import FullNormal
from genmix.families.gaussian_mixture import GaussianMixture
from genmix.families.latent_variable import LatentVariableModel
from genmix.families.standard_normal import StandardNormal
from genmix.families.weigh import log_weight

__all__ = [
    "Bernoulli",
    "Categorical",
    "DiscretizedLogistic",
    "FactorizedNormal",
    "Flow",
    "FlowDensity",
    "FlowPosterior",
    "FullNormal",
    "GaussianMixture",
    "LatentVariableModel",
    "SampledFlow",
    "StandardNormal",
    "log_weight",
    "transformed",
]
