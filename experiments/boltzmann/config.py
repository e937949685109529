"""Settings of every Boltzmann machine, from its data to the estimate of its normalizer."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from genmix import data
from genmix.runs import command_line


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shared:
    """Defaults train on scikit-learn's digits."""

    dataset: Annotated[str, tyro.conf.arg(metavar="{" + ",".join(data.NAMES) + ",tfds:NAME}")] = (
        "digits"
    )
    data_dir: Path | None = None
    """Folder that holds mnist/, binarized_mnist/, ...; the digits need none."""
    steps: int = 10_000
    """Of training; of each machine, if there are several."""
    batch_size: int = 100
    chains: int = 100
    """Persistent chains."""
    learning_rate: float = 0.05
    """Of gradient descent at the start; it falls to zero linearly."""
    temperatures: int = 2_000
    """Of annealed importance sampling; Salakhutdinov & Murray take 14,500."""
    paths: int = 100
    """Of annealed importance sampling."""
    seed: int = 0
    out: Path | None = None
    """Directory of the run; runs/NAME/TIME if not given."""
    resume: bool = False
    """Go on with the run in --out, bit for bit."""
    debug: bool = False
    """If a number is not finite, name the operation that made it so; it may go with --resume."""

    def __post_init__(self):
        command_line.require(
            self,
            counts=("steps", "batch_size", "chains"),
            positive=("learning_rate",),
            at_least={"temperatures": 29, "paths": 2},
        )
