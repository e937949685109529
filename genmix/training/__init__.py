"""The game: players move in turn, round after round; one loop trains everything."""

from genmix.training import feed, layerwise, rounds
from genmix.training.by_path import by_path
from genmix.training.fit import Fit, fit
from genmix.training.game import Game
from genmix.training.plan import Plan, Validation
from genmix.training.player import Player
from genmix.training.rounds import GameState, averaged_model, compile_rounds, start
from genmix.training.run import Run
from genmix.training.stages import Stage, fit_stages

__all__ = [
    "Fit",
    "Game",
    "GameState",
    "Plan",
    "Player",
    "Run",
    "Stage",
    "Validation",
    "averaged_model",
    "by_path",
    "compile_rounds",
    "feed",
    "fit",
    "fit_stages",
    "layerwise",
    "rounds",
    "start",
]
