"""How far a run has come: a bar on a terminal, a line now and then everywhere else."""

import datetime
import sys
import time
from collections.abc import Mapping
from typing import SupportsFloat

from rich import progress as bars
from rich.console import Console


class Progress:
    """The bar of one task, on stderr; use it in a `with` block, one at a time.

    The rate counts from the first update on, so that compilation and what a resumed run had done
    before are not in it. With several hosts only one process shows a bar.
    """

    def __init__(self, description: str, *, total: int, done: int = 0, line_every: float = 30.0):
        """Describe a task of `total` rounds, of which `done` were done before.

        Args:
            line_every: where stderr is not a terminal, the seconds between two lines at least.
        """
        self._console = Console(stderr=True)
        # Asked of the stream itself, since rich takes FORCE_COLOR in a CI job for a terminal.
        self._is_terminal = sys.stderr.isatty() and not self._console.is_dumb_terminal
        self._bars = bars.Progress(
            bars.TextColumn("{task.description}", markup=False),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TimeElapsedColumn(),
            bars.TextColumn("{task.fields[status]}", markup=False),
            console=self._console,
            disable=not self._is_terminal,
            get_time=time.monotonic,
            speed_estimate_period=600.0,  # seconds; slow rounds must not fall out of the estimate
        )
        self._task_id = self._bars.add_task(description, total=total, completed=done, status="")
        self._task = self._bars.tasks[0]
        self._metrics = ""
        self._line_every = line_every
        self._next_line = -float("inf")
        self._is_shown = True  # whether a line has told the latest state

    def update(self, done: int, metrics: Mapping[str, SupportsFloat] | None = None) -> None:
        """Tell that `done` rounds in all are done, and the latest metrics; None keeps the last."""
        if metrics is not None:
            self._metrics = "  ".join(f"{name} {float(metrics[name]):.5g}" for name in metrics)
        self._bars.update(self._task_id, completed=done)
        self._bars.update(self._task_id, status=self._status())
        self._is_shown = False
        if not self._is_terminal and time.monotonic() >= self._next_line:
            self._print_line()

    def __enter__(self) -> "Progress":
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()
        if not self._is_terminal and not self._is_shown:
            self._print_line()

    def _status(self) -> str:
        """Rate, time left and metrics; "-" for what is not known yet."""
        speed = self._task.speed
        rate = "-" if speed is None else f"{speed:.3g}"
        left = _clock(self._task.time_remaining)
        return f"{rate} rounds/s  {left} left  {self._metrics}".rstrip()

    def _print_line(self) -> None:
        task = self._task
        rounds = f"{int(task.completed)}/{task.total}"
        line = f"{task.description}  {rounds}  {_clock(task.elapsed)}  {self._status()}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        self._next_line = time.monotonic() + self._line_every
        self._is_shown = True


def _clock(seconds: int | float | None) -> str:
    return "-" if seconds is None else str(datetime.timedelta(seconds=round(seconds)))
