"""Parts: conditional distributions with stated capabilities, which combine into models."""

from genmix.families.autoregressive.autoregressive import Autoregressive
from genmix.families.autoregressive.input_dropout import InputDropout
from genmix.families.autoregressive.mask_sampling import MaskMixture, MaskSampling
from genmix.families.continuous_flow import ContinuousFlow
from genmix.families.diffusion.chain import DiffusionChain
from genmix.families.diffusion.ddim import DDIM
from genmix.families.diffusion.denoiser import Denoiser
from genmix.families.diffusion.diffusion import Diffusion
from genmix.families.diffusion.discrete import DiscreteDiffusion
from genmix.families.diffusion.guidance import Guided
from genmix.families.diffusion.multiplication import Multiplied
from genmix.families.diffusion.probability_flow import ProbabilityFlow
from genmix.families.energy.deep_belief import DeepBelief
from genmix.families.energy.deep_boltzmann import DeepBoltzmann
from genmix.families.energy.energy import Energy
from genmix.families.energy.enumerated_boltzmann import EnumeratedBoltzmann
from genmix.families.energy.generative_stochastic import GenerativeStochastic
from genmix.families.energy.restricted_boltzmann import RestrictedBoltzmann
from genmix.families.energy.salt_and_pepper import SaltAndPepper
from genmix.families.explicit.autoregressive_normal import AutoregressiveNormal
from genmix.families.explicit.codes_of_bits import CodesOfBits
from genmix.families.explicit.conditional import (
    Bernoulli,
    Categorical,
    Conditional,
    DiscretizedLogistic,
    FullNormal,
    Normal,
    OneHot,
)
from genmix.families.explicit.gaussian_mixture import GaussianMixture
from genmix.families.explicit.independent import Independent
from genmix.families.explicit.normal_at import NormalAt
from genmix.families.explicit.normalized import Normalized
from genmix.families.explicit.standard_normal import StandardNormal
from genmix.families.explicit.straight_through import StraightThrough
from genmix.families.explicit.unconditional import Unconditional
from genmix.families.explicit.uniform import Uniform, UniformCodes
from genmix.families.flow import (
    Flow,
    FlowDensity,
    FlowPosterior,
    SampledFlow,
    transformed,
)
from genmix.families.hutchinson import Hutchinson
from genmix.families.implicit.deterministic import Deterministic
from genmix.families.implicit.implicit import Implicit
from genmix.families.implicit.laplacian_pyramid import LaplacianPyramid
from genmix.families.implicit.recurrent_adversarial import RecurrentAdversarial
from genmix.families.implicit.style_based import StyleBased
from genmix.families.latent.autoencoder import Autoencoder
from genmix.families.latent.classified import Classified
from genmix.families.latent.dequantized import Dequantized
from genmix.families.latent.draw import Draw
from genmix.families.latent.given import Given
from genmix.families.latent.latent_variable import LatentVariableModel
from genmix.families.latent.modalities import Modalities, OfModalities
from genmix.families.latent.pairs import Pairs
from genmix.families.latent.summed import Summed
from genmix.families.latent.top_down import Level, TopDown, Upward
from genmix.families.latent.vamp_prior import VampPrior
from genmix.families.latent.vector_quantized import Codebook, VectorQuantized
from genmix.families.posteriors.annealed import Annealed
from genmix.families.posteriors.auxiliary import Auxiliary
from genmix.families.posteriors.hamiltonian import Hamiltonian
from genmix.families.posteriors.merged_normal import MergedNormal
from genmix.families.posteriors.mixture_of_experts import MixtureOfExperts
from genmix.families.posteriors.optimized import Optimized
from genmix.families.posteriors.product_of_experts import ProductOfExperts
from genmix.families.posteriors.rejecting import Rejecting
from genmix.families.posteriors.resampled import Resampled
from genmix.families.sequence.filtered import Filtered
from genmix.families.sequence.hidden_markov import HiddenMarkov
from genmix.families.sequence.linear_gaussian import LinearGaussian
from genmix.families.sequence.padded import Padded
from genmix.families.sequence.state_space import StateSpaceModel
from genmix.families.sequence.stochastic_rnn import StochasticRNN
from genmix.families.sequence.structured_inference import Combiner, FromTheEnd
from genmix.families.sequence.unrolled import Unrolled
from genmix.families.sequence.variational_rnn import VariationalRNN
from genmix.families.weigh import log_weight

__all__ = [
    "DDIM",
    "Annealed",
    "Autoencoder",
    "Autoregressive",
    "AutoregressiveNormal",
    "Auxiliary",
    "Bernoulli",
    "Categorical",
    "Classified",
    "Codebook",
    "CodesOfBits",
    "Combiner",
    "Conditional",
    "ContinuousFlow",
    "DeepBelief",
    "DeepBoltzmann",
    "Denoiser",
    "Dequantized",
    "Deterministic",
    "Diffusion",
    "DiffusionChain",
    "DiscreteDiffusion",
    "DiscretizedLogistic",
    "Draw",
    "Energy",
    "EnumeratedBoltzmann",
    "Filtered",
    "Flow",
    "FlowDensity",
    "FlowPosterior",
    "FromTheEnd",
    "FullNormal",
    "GaussianMixture",
    "GenerativeStochastic",
    "Given",
    "Guided",
    "Hamiltonian",
    "HiddenMarkov",
    "Hutchinson",
    "Implicit",
    "Independent",
    "InputDropout",
    "LaplacianPyramid",
    "LatentVariableModel",
    "Level",
    "LinearGaussian",
    "MaskMixture",
    "MaskSampling",
    "MergedNormal",
    "MixtureOfExperts",
    "Modalities",
    "Multiplied",
    "Normal",
    "NormalAt",
    "Normalized",
    "OfModalities",
    "OneHot",
    "Optimized",
    "Padded",
    "Pairs",
    "ProbabilityFlow",
    "ProductOfExperts",
    "RecurrentAdversarial",
    "Rejecting",
    "Resampled",
    "RestrictedBoltzmann",
    "SaltAndPepper",
    "SampledFlow",
    "StandardNormal",
    "StateSpaceModel",
    "StochasticRNN",
    "StraightThrough",
    "StyleBased",
    "Summed",
    "TopDown",
    "Unconditional",
    "Uniform",
    "UniformCodes",
    "Unrolled",
    "Upward",
    "VampPrior",
    "VariationalRNN",
    "VectorQuantized",
    "log_weight",
    "transformed",
]
