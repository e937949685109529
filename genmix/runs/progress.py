"""How far a run has come: a bar on a terminal, a line now and then everywhere else."""

import datetime
import sys
import time
from collections.abc import Mapping
from typing import SupportsFloat

from rich import progress as bars
from rich.console import Console


class Progress:
    """The bar of one task, on stderr; use it in a `with` block.

    Inside the block of another one it shows nothing: that of a whole training tells more than that
    of one of its validations. The rate counts from the first update on, so that compilation and
    what a resumed run had done before are not in it. With several hosts only one process
    shows a bar.
    """

    _others = 0  # that are shown now

    def __init__(
        self,
        description: str,
        *,
        total: int,
        done: int = 0,
        unit: str = "rounds",
        after: float = 0.0,
        line_every: float = 30.0,
    ):
        """Describe a task of `total` rounds, of which `done` were done before.

        Args:
            unit: what is counted.
            after: seconds before which nothing is shown, for tasks that are seldom long.
            line_every: where stderr is not a terminal, the seconds between two lines at least.
        """
        self._unit, self._show_at = unit, time.monotonic() + after
        self._is_active, self._has_begun = False, False
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

    def tell(self, what: str) -> None:
        """Say what is going on while no round ends, such as compiling, until the next update."""
        self._bars.update(self._task_id, status=what)
        self._begin()
        if not self._is_terminal and self._has_begun:
            self._print_line(what)

    def update(self, done: int, metrics: Mapping[str, SupportsFloat] | None = None) -> None:
        """Tell that `done` rounds in all are done, and the latest metrics; None keeps the last."""
        if metrics is not None:
            self._metrics = "  ".join(f"{name} {float(metrics[name]):.5g}" for name in metrics)
        self._bars.update(self._task_id, completed=done)
        self._bars.update(self._task_id, status=self._status())
        self._is_shown = False
        self._begin()
        if not self._is_terminal and self._has_begun and time.monotonic() >= self._next_line:
            self._print_line()

    def __enter__(self) -> "Progress":
        self._is_active = Progress._others == 0
        Progress._others += 1
        self._begin()
        return self

    def __exit__(self, *error: object) -> None:
        Progress._others -= 1
        self._bars.stop()
        if not self._is_terminal and self._has_begun and not self._is_shown:
            self._print_line()

    def _begin(self) -> None:
        """Show the bar, if it is time to."""
        if self._is_active and not self._has_begun and time.monotonic() >= self._show_at:
            self._has_begun = True
            self._bars.start()

    def _status(self) -> str:
        """Rate, time left and metrics; "-" for what is not known yet."""
        speed = self._task.speed
        rate = "-" if speed is None else f"{speed:.3g}"
        left = _clock(self._task.time_remaining)
        return f"{rate} {self._unit}/s  {left} left  {self._metrics}".rstrip()

    def _print_line(self, what: str | None = None) -> None:
        """A line of where the task is, or of what is going on."""
        task = self._task
        rounds = f"{int(task.completed)}/{task.total}"
        status = self._status() if what is None else what
        line = f"{task.description}  {rounds}  {_clock(task.elapsed)}  {status}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        if what is None:
            self._next_line = time.monotonic() + self._line_every
            self._is_shown = True


def _clock(seconds: int | float | None) -> str:
    return "-" if seconds is None else str(datetime.timedelta(seconds=round(seconds)))
