"""A game in several stages, each with players, data and optimizers of its own."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from jaxtyping import Array, Key, PyTree

from genmix.training.fit import Fit, fit
from genmix.training.plan import Plan
from genmix.training.player import Player
from genmix.training.run import Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """What is played after the stage before.

    Attributes:
        name: of its folder in the run's directory, and of its progress bar.
        begin: the model that the stage before left -> the one that this begins with.
    """

    name: str
    players: Sequence[Player]
    data: PyTree
    plan: Plan
    begin: Callable[[Any], Any] = lambda model: model


def fit_stages(
    key: Key[Array, ""], model: Any, stages: Sequence[Stage], run: Run | None = None
) -> list[Fit]:
    """Play the stages one after the other: what each of them leaves.

    Optimizers and their states are new in each stage; what is to go on through all of them, such as
    a moving average, belongs to the model (`objectives.follow`). A run with a directory may be
    killed in any stage: resumed, it goes through the stages that are over, and on in that one, bit
    for bit.

    Raises:
        ValueError: if there is no stage, or two share a name; and as `fit`.
    """
    names = [stage.name for stage in stages]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"stages need distinct names, at least one, got {names}.")
    run, found = run or Run(), []
    for i, stage in enumerate(stages):
        directory = None if run.directory is None else Path(run.directory) / stage.name
        label = None if run.label is None else f"{run.label} {stage.name}"
        found.append(
            fit(
                jax.random.fold_in(key, i),
                stage.begin(model),
                stage.players,
                stage.data,
                stage.plan,
                dataclasses.replace(run, directory=directory, label=label),
            )
        )
        model = found[-1].model
    return found
