"""Parts: conditional distributions with stated capabilities, which combine into models."""

from genmix.families.autoencoder import Autoencoder
from genmix.families.autoregressive import Autoregressive
from genmix.families.bernoulli import Bernoulli
from genmix.families.categorical import Categorical
from genmix.families.dequantized import Dequantized
from genmix.families.deterministic import Deterministic
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
from genmix.families.implicit import Implicit
from genmix.families.independent import Independent
from genmix.families.input_dropout import InputDropout
from genmix.families.latent_variable import LatentVariableModel
from genmix.families.levels import BinaryLevels, CategoricalLevels, LogisticMixtureLevels
from genmix.families.mask_sampling import MaskMixture, MaskSampling
from genmix.families.one_hot import OneHot
from genmix.families.standard_normal import StandardNormal
from genmix.families.straight_through import StraightThrough
from genmix.families.uniform import Uniform
from genmix.families.vamp_prior import VampModel, VampPrior
from genmix.families.weigh import log_weight

__all__ = [
    "Autoencoder",
    "Autoregressive",
    "Bernoulli",
    "BinaryLevels",
    "Categorical",
    "CategoricalLevels",
    "Dequantized",
    "Deterministic",
    "DiscretizedLogistic",
    "FactorizedNormal",
    "Flow",
    "FlowDensity",
    "FlowPosterior",
    "FullNormal",
    "GaussianMixture",
    "Implicit",
    "Independent",
    "InputDropout",
    "LatentVariableModel",
    "LogisticMixtureLevels",
    "MaskMixture",
    "MaskSampling",
    "OneHot",
    "SampledFlow",
    "StandardNormal",
    "StraightThrough",
    "Uniform",
    "VampModel",
    "VampPrior",
    "log_weight",
    "transformed",
]
