"""What is optimised, how long, and what is held out."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

from genmix.training import arguments
from genmix.training.rounds import Transform


class Validation(NamedTuple):
    """When to look at held-out data, and when to stop for it.

    Attributes:
        score: model -> a number, higher is better, such as a bound on validation data.
        every: rounds between two looks.
        patience: looks without improvement after which training stops; never if None. A score
            that is NaN is no improvement, and a warning tells of it.
    """

    score: Callable[[Any], float]
    every: int
    patience: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """How long to train, on what batches, and which model is handed out.

    Attributes:
        num_rounds: rounds in all, those before a resumption included.
        batch_size: examples of each batch.
        transform: (key, batch) -> batch, applied to each batch, such as a new binarization; for a
            `Dataset` its own by default.
        average_decay: keep a moving average of the parameters with this decay a round.
        scatter_from: split parameters and optimizer states of at least so many elements over the
            "data" axis of the mesh in use; without it every device holds all of them.
        rounds_per_call: rounds between two reports, fused into one compiled call.
        validation: held-out score; without one nothing is held out.
    """

    num_rounds: int
    batch_size: int
    transform: Transform | None = None
    average_decay: float | None = None
    scatter_from: int | None = None
    rounds_per_call: int = 100
    validation: Validation | None = None

    def __post_init__(self):
        counts = ("num_rounds", "batch_size", "rounds_per_call", "scatter_from")
        values = {name: getattr(self, name) for name in counts}
        if self.validation is not None:
            values["validation.every"] = self.validation.every
            values["validation.patience"] = self.validation.patience
        for name, value in values.items():
            arguments.require_count(name, value)
        arguments.require_transform(self.transform)
        if self.average_decay is not None and not 0 <= self.average_decay < 1:
            raise ValueError(f"average_decay must be in [0, 1), got {self.average_decay}.")
        if self.validation is not None and self.validation.every % self.rounds_per_call:
            raise ValueError(
                f"validation.every, {self.validation.every}, must be a multiple of "
                f"rounds_per_call, {self.rounds_per_call}."
            )
