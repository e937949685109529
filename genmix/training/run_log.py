"""The metrics of a run, as lines of JSON for programs and as TensorBoard events for people.

A line is {"step": 100, "time": 3.2, "bound": -98.5}. JSON has no word for values that are not
finite, so these are the strings "NaN", "Infinity" and "-Infinity", which Python's `float` and
JavaScript's `Number` read.
"""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np

from genmix.training import run_directory

_METRICS = "metrics.jsonl"
_RESERVED = ("step", "time")


class RunLog:
    """The log of one run; use it in a `with` block, or call `close`.

    With several hosts only one process logs.
    """

    def __init__(self, directory: str | Path, *, resume_step: int | None = None):
        """Start the log of a new run, or go on with the one of a run resumed from a checkpoint.

        On resuming, what was logged after resume_step is dropped, since it will be logged again,
        and time goes on from where it was at resume_step.

        Raises:
            ValueError: if resume_step is None but the directory has a log, or the log is damaged
                elsewhere than in its last line.
        """
        from tensorboardX import SummaryWriter  # a sixth of a second, so not on importing genmix

        path = Path(directory) / _METRICS
        earlier = 0.0
        if resume_step is None and path.exists():
            raise ValueError(
                f"{path} already exists; pass resume_step to go on with it, or another directory."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            kept = [line for line in _read(path) if line["step"] <= resume_step]
            run_directory.write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
            earlier = kept[-1]["time"] if kept else 0.0
        self._start = time.monotonic() - earlier
        self._file = path.open("a", encoding="utf-8")
        purge_step = None if resume_step is None else resume_step + 1
        self._events = SummaryWriter(
            str(path.parent / "tensorboard"),
            purge_step=purge_step,
            flush_secs=10,
            # Names differ by the second otherwise, and the old file would be overwritten.
            filename_suffix="" if purge_step is None else f".from_{purge_step}",
        )

    def write(self, step: int, metrics: Mapping[str, SupportsFloat]) -> None:
        """Log the metrics of a step; a process killed after it loses nothing of metrics.jsonl.

        TensorBoard gets the finite values only, and within ten seconds.

        Raises:
            ValueError: if a metric is called "step" or "time".
        """
        values = {name: float(value) for name, value in metrics.items()}
        for name in _RESERVED:
            if name in values:
                raise ValueError(f'A metric cannot be called "{name}", which every line has.')
        line = {"step": step, "time": round(time.monotonic() - self._start, 3)}
        line |= {name: _as_json(value) for name, value in values.items()}
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()
        for name, value in values.items():
            if math.isfinite(value):  # tensorboardX would print a warning at each of the others
                self._events.add_scalar(name, value, step)

    def close(self) -> None:
        """Write out what TensorBoard has not got yet, and close the files."""
        self._file.close()
        self._events.close()

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def read_metrics(path: str | Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Steps and values (float64) of each metric of a metrics.jsonl, "time" in seconds among them.

    A last line that is not complete, as of a run that goes on or was killed, is left out.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if another line is damaged.
    """
    columns: dict[str, tuple[list[int], list[float]]] = {}
    for line in _read(Path(path)):
        for name, value in line.items():
            if name != "step":
                steps, values = columns.setdefault(name, ([], []))
                steps.append(line["step"])
                values.append(float(value))
    return {
        name: (np.array(steps, np.int64), np.array(values, np.float64))
        for name, (steps, values) in columns.items()
    }


def _as_json(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _read(path: Path) -> list[dict[str, Any]]:
    """The lines of a log, without the last one if it was cut short."""
    *texts, rest = path.read_bytes().split(b"\n")
    lines = []
    for number, text in enumerate(texts, start=1):
        try:
            lines.append(_parse(text))
        except (ValueError, TypeError, LookupError) as error:
            if number == len(texts) and not rest:
                break
            raise ValueError(f"{path}, line {number}, is not a line of metrics: {error}") from error
    return lines


def _parse(text: bytes) -> dict[str, Any]:
    """A line, checked: a whole step, a time, and values that are numbers."""
    line = json.loads(text)
    for name in line:
        float(line[name])
    if not isinstance(line["step"], int):
        raise TypeError(f"its step is {line['step']!r}")
    line["time"] = float(line["time"])
    return line
