"""genmix: parts of deep generative models that combine.

Parts are conditional distributions (`families`) over pure log-densities (`densities`); whatever has
a likelihood speaks in log-weights, which `bounds` turns into bounds and gradients; `bijectors` make
flows, `mcmc` chains; `training` is a game of one or more players; `evaluation` and `data` surround
them.
"""

from genmix import (
    bijectors,
    bounds,
    capabilities,
    data,
    densities,
    divergences,
    evaluation,
    families,
    inference,
    mcmc,
    nets,
    objectives,
    runs,
    training,
)
from genmix.families import (
    Bernoulli,
    Categorical,
    DiscretizedLogistic,
    FullNormal,
    GaussianMixture,
    LatentVariableModel,
    Normal,
    StandardNormal,
    log_weight,
)
from genmix.training import Game, Plan, Player, fit

__all__ = [
    "Bernoulli",
    "Categorical",
    "DiscretizedLogistic",
    "FullNormal",
    "Game",
    "GaussianMixture",
    "LatentVariableModel",
    "Normal",
    "Plan",
    "Player",
    "StandardNormal",
    "bijectors",
    "bounds",
    "capabilities",
    "data",
    "densities",
    "divergences",
    "evaluation",
    "families",
    "fit",
    "inference",
    "log_weight",
    "mcmc",
    "nets",
    "objectives",
    "runs",
    "training",
]
