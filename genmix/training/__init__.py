"""Players, rounds and objectives: one loop trains everything."""

from genmix.training import (
    adversarial,
    autoencoding,
    baselines,
    comparison,
    contrastive_divergence,
    distances,
    information,
    layerwise,
    mask_cycling,
    mean_field,
    objectives,
    run_directory,
    up_down,
    walkback,
)
from genmix.training.fit import Fit, Plan, Validation, fit
from genmix.training.objectives import Rate
from genmix.training.player import Player
from genmix.training.rounds import GameState, averaged_model, compile_rounds, start
from genmix.training.term import Term

__all__ = [
    "Fit",
    "GameState",
    "Plan",
    "Player",
    "Rate",
    "Term",
    "Validation",
    "adversarial",
    "autoencoding",
    "averaged_model",
    "baselines",
    "comparison",
    "compile_rounds",
    "contrastive_divergence",
    "distances",
    "fit",
    "information",
    "layerwise",
    "mask_cycling",
    "mean_field",
    "objectives",
    "run_directory",
    "start",
    "up_down",
    "walkback",
]
