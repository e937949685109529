"""What a model draws at several times of its training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import ArrayLike

from experiments.study.study import Result
from genmix.runs import run_log
from genmix.training import Validation


def film(draw: Callable[[Any], ArrayLike], every: int, directory: Path) -> Validation:
    """Keep what is drawn after each so many rounds, of which as many make a report.

    On the disk: the run may be resumed between two frames. The "score" is the step, so that the
    model of the last frame is handed out.
    """

    def look(model: Any) -> float:
        past, _ = run_log.read_metrics(directory / "metrics.jsonl").get("seconds", ([0], []))
        step = int(past[-1]) + every
        np.save(directory / f"samples-{step}.npy", np.asarray(draw(model)))
        return step

    return Validation(look, every)


def frames(result: Result) -> dict[str, np.ndarray]:
    """What has been drawn, by its time such as "step 100"."""
    steps = result.history["validation"][0]
    return {f"step {step}": np.load(result.directory / f"samples-{step}.npy") for step in steps}
