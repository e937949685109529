"""Terms of objectives, which add and scale: `elbo() + 10.0 * mmd(latent)`.

A term is about the whole model, or about the part of a game that `Term.of` names. Those that judge
samples take a `Comparison`: `data`, `conditional`, `latent`, `joint` or `decoded`.
"""

from genmix.objectives import debiasing, diffusion
from genmix.objectives.adversarial import (
    critic,
    feature_likelihood,
    feature_matching,
    generator,
    r1,
    wgan_gp,
    wgan_lp,
)
from genmix.objectives.autoencoding import rate, reconstruction
from genmix.objectives.classification import classification
from genmix.objectives.comparison import (
    Comparison,
    conditional,
    data,
    decoded,
    joint,
    latent,
    part_of,
)
from genmix.objectives.constraint import Multiplier, constrained
from genmix.objectives.cyclical import cyclical
from genmix.objectives.debiasing import debiased
from genmix.objectives.deep_belief import up_down
from genmix.objectives.deep_boltzmann import mean_field_contrastive_divergence
from genmix.objectives.distances import mmd, sliced_wasserstein
from genmix.objectives.energy_prior import energy_prior
from genmix.objectives.experts import experts_kl
from genmix.objectives.flow_matching import flow_matching
from genmix.objectives.generative_stochastic import walkback
from genmix.objectives.growing import fading, follow, grown_data
from genmix.objectives.information import barber_agakov, info_nce
from genmix.objectives.lazily import lazily
from genmix.objectives.likelihood import (
    Rate,
    elbo,
    importance_weighted,
    iwae,
    renyi,
    vimco,
    vr_max,
)
from genmix.objectives.mask_cycling import masked_elbo
from genmix.objectives.pool import Pool
from genmix.objectives.pyramid import coarsest_images, detail
from genmix.objectives.quantization import codebook, commitment, moving_codebook
from genmix.objectives.term import Loss, Term, between
from genmix.objectives.translation import cycle, identity, reverse, translated
from genmix.objectives.unnormalized import (
    contrastive_divergence,
    persistent_contrastive_divergence,
)
from genmix.objectives.wake_sleep import sleep, wake

__all__ = [
    "Comparison",
    "Loss",
    "Multiplier",
    "Pool",
    "Rate",
    "Term",
    "barber_agakov",
    "between",
    "classification",
    "coarsest_images",
    "codebook",
    "commitment",
    "conditional",
    "constrained",
    "contrastive_divergence",
    "critic",
    "cycle",
    "cyclical",
    "data",
    "debiased",
    "debiasing",
    "decoded",
    "detail",
    "diffusion",
    "elbo",
    "energy_prior",
    "experts_kl",
    "fading",
    "feature_likelihood",
    "feature_matching",
    "flow_matching",
    "follow",
    "generator",
    "grown_data",
    "identity",
    "importance_weighted",
    "info_nce",
    "iwae",
    "joint",
    "latent",
    "lazily",
    "masked_elbo",
    "mean_field_contrastive_divergence",
    "mmd",
    "moving_codebook",
    "part_of",
    "persistent_contrastive_divergence",
    "r1",
    "rate",
    "reconstruction",
    "renyi",
    "reverse",
    "sleep",
    "sliced_wasserstein",
    "translated",
    "up_down",
    "vimco",
    "vr_max",
    "wake",
    "walkback",
    "wgan_gp",
    "wgan_lp",
]
