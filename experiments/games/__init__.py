"""What the games of a generator and a critic share: gan and info_gan."""

from experiments.games.networks import Network, networks
from experiments.games.source import (
    LARGE,
    PLANE,
    SMALL,
    Config,
    Pictures,
    Points,
    Recipe,
    Source,
    save_films,
)

__all__ = [
    "LARGE",
    "PLANE",
    "SMALL",
    "Config",
    "Network",
    "Pictures",
    "Points",
    "Recipe",
    "Source",
    "networks",
    "save_films",
]
