"""Where a training is logged, and whether it goes on from there."""

import dataclasses
from pathlib import Path

from genmix.training import arguments


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """Where what a training does is written and shown; its numbers do not depend on it.

    Attributes:
        directory: where metrics.jsonl, TensorBoard events and checkpoints go; nowhere if None.
        checkpoint_every: rounds between two checkpoints; by default those of the plan's
            `validation`, or a tenth of its `num_rounds`. The best by validation and the last round
            are always kept.
        resume: go on from the latest checkpoint of `directory`, bit for bit, if there is one.
        label: what the progress bar is called; no bar if None.
        debug: if a number is not finite, play that round again under `checkify`, to name the
            operation and its line of source. It costs nothing until then.
    """

    directory: str | Path | None = None
    checkpoint_every: int | None = None
    resume: bool = False
    label: str | None = "training"
    debug: bool = False

    def __post_init__(self):
        arguments.require_count("checkpoint_every", self.checkpoint_every)
        if self.resume and self.directory is None:
            raise ValueError("resume needs the directory of the run to go on with.")
