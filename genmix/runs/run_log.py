"""The metrics of a run, as lines of JSON for programs and as TensorBoard events for people.

A line is {"step": 100, "time": 3.2, "bound": -98.5}. JSON has no word for values that are not
finite, so these are the strings "NaN", "Infinity" and "-Infinity", which Python's `float` and
JavaScript's `Number` read.
"""

import contextlib
import json
import math
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np

from genmix.runs import run_directory

_METRICS = "metrics.jsonl"
_RESERVED = ("step", "time")
_FLUSH_EVERY = 10.0  # seconds


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
        self._path = path
        self._file = path.open("a", encoding="utf-8")
        self._events = _Events(path.parent / "tensorboard", resume_step)

    def write(self, step: int, metrics: Mapping[str, SupportsFloat]) -> None:
        """Log the metrics of a step; a process killed after it loses nothing of metrics.jsonl.

        TensorBoard gets the finite values only, every ten seconds.

        Raises:
            ValueError: if a metric is called "step" or "time".
            OSError: if they could not be written; those before them are still there.
        """
        values = {name: float(value) for name, value in metrics.items()}
        for name in _RESERVED:
            if name in values:
                raise ValueError(f'A metric cannot be called "{name}", which every line has.')
        line = {"step": step, "time": round(time.monotonic() - self._start, 3)}
        line |= {name: _as_json(value) for name, value in values.items()}
        with run_directory.naming(self._path):
            self._file.write(json.dumps(line, allow_nan=False) + "\n")
            self._file.flush()
        self._events.write(step, values)

    def close(self) -> None:
        """Write out what TensorBoard has not got yet, and close the files."""
        with contextlib.closing(self._events), run_directory.naming(self._path):
            self._file.close()

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class _Events:
    """A file of TensorBoard events, written by whoever calls.

    tensorboardX's `SummaryWriter` writes in a thread, which an error ends: on a full disk its queue
    would fill up, and training stand still for ever.
    """

    def __init__(self, directory: Path, resume_step: int | None):
        from tensorboardX.record_writer import RecordWriter  # takes a sixth of a second

        directory.mkdir(exist_ok=True)
        # Names differ by the second otherwise, and the old file would be overwritten.
        suffix = "" if resume_step is None else f".from_{resume_step + 1}"
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}{suffix}"
        self._path = directory / name
        self._records = RecordWriter(str(self._path))
        self._next_flush = 0.0
        self._write(0, file_version="brain.Event:2")
        if resume_step is not None:  # TensorBoard forgets what it has of later steps
            self._write(resume_step + 1, session_log={"status": "START"})

    def write(self, step: int, values: Mapping[str, float]) -> None:
        finite = [
            {"tag": name, "simple_value": value}
            for name, value in values.items()
            if math.isfinite(value)
        ]
        self._write(step, summary={"value": finite})
        if time.monotonic() >= self._next_flush:
            with run_directory.naming(self._path):
                self._records.flush()
            self._next_flush = time.monotonic() + _FLUSH_EVERY

    def close(self) -> None:
        with run_directory.naming(self._path):
            self._records.close()

    def _write(self, step: int, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]

        event = Event(wall_time=time.time(), step=step, **content)
        with run_directory.naming(self._path):
            self._records.write(event.SerializeToString())


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
    *texts, rest = run_directory.read_bytes(path).split(b"\n")
    lines = []
    for number, text in enumerate(texts, start=1):
        try:
            lines.append(_parse(text))
        except (ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
            if number == len(texts) and not rest:
                break
            raise ValueError(f"{path}, line {number}, is not a line of metrics: {error}") from error
    return lines


def _parse(text: bytes) -> dict[str, Any]:
    """A line, checked: a whole step, a time, and values that are numbers."""
    line = json.loads(text)
    for name in line:
        float(line[name])
    if not isinstance(line["step"], int) or not -(2**63) <= line["step"] < 2**63:
        raise TypeError(f"its step is {line['step']!r}")
    line["time"] = float(line["time"])
    return line
