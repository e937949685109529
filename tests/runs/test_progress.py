import io
import re
import sys
import time

import pytest

from genmix.runs import progress


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_where_stderr_is_no_terminal(clock, capsys):
    with progress.Progress("train [x]", total=100, line_every=10.0) as bar:
        clock.now += 50.0  # compilation
        bar.update(1, {"bound": -21.4321, "[kl]": 3})
        for done in range(2, 62):
            clock.now += 0.5
            bar.update(done, {"bound": -done})
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "train [x]  1/100  0:00:50  - rounds/s  - left  bound -21.432  [kl] 3",
        "train [x]  21/100  0:01:00  2 rounds/s  0:00:40 left  bound -21",
        "train [x]  41/100  0:01:10  2 rounds/s  0:00:30 left  bound -41",
        "train [x]  61/100  0:01:20  2 rounds/s  0:00:20 left  bound -61",
    ]


def test_it_says_what_goes_on_before_the_first_round(clock, capsys):
    with progress.Progress("train", total=100) as bar:
        bar.tell("compiling")
        clock.now += 50.0
        bar.update(10)
        bar.tell("compiling")
    assert capsys.readouterr().err.splitlines() == [
        "train  0/100  0:00:00  compiling",
        "train  10/100  0:00:50  - rounds/s  - left",
        "train  10/100  0:00:50  compiling",
    ]


def test_what_is_short_shows_nothing(clock, capsys):
    def run(seconds):
        with progress.Progress("nll", total=10, unit="events", after=5.0, line_every=2.0) as bar:
            for done in range(1, 11):
                clock.now += seconds / 10
                bar.update(done)

    run(4.0)
    assert capsys.readouterr().err == ""
    run(10.0)
    assert capsys.readouterr().err.splitlines() == [
        "nll  5/10  0:00:05  1 events/s  0:00:05 left",
        "nll  7/10  0:00:07  1 events/s  0:00:03 left",
        "nll  9/10  0:00:09  1 events/s  0:00:01 left",
        "nll  10/10  0:00:10  1 events/s  0:00:00 left",
    ]


def test_a_bar_within_another_shows_nothing(clock, capsys):
    with progress.Progress("outer", total=1) as outer:
        with progress.Progress("inner", total=1) as inner:
            inner.tell("compiling")
            inner.update(1)
        outer.update(1)
    with progress.Progress("next", total=1) as bar:
        bar.update(1)
    assert [line.split()[0] for line in capsys.readouterr().err.splitlines()] == ["outer", "next"]


def test_a_last_line_tells_the_end_and_only_once(clock, capsys):
    with progress.Progress("train", total=3, line_every=10.0) as bar:
        for done in (1, 2, 3):
            clock.now += 1.0
            bar.update(done)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "train  1/3  0:00:01  - rounds/s  - left",
        "train  3/3  0:00:03  1 rounds/s  0:00:00 left",
    ]


def test_the_last_line_comes_after_an_error_too(clock, capsys):
    def run():
        with progress.Progress("train", total=3) as bar:
            bar.update(1, {"loss": 1.0})
            clock.now += 1.0
            bar.update(2, {"loss": float("nan")})
            raise ArithmeticError("diverged")

    with pytest.raises(ArithmeticError, match="diverged"):
        run()
    assert capsys.readouterr().err.splitlines()[-1].endswith("loss nan")


def test_a_resumed_run_is_as_fast_as_a_new_one(clock, capsys):
    with progress.Progress("train", total=1000, done=900, line_every=0.0) as bar:
        clock.now += 50.0  # compilation
        bar.update(910)
        clock.now += 2.0
        bar.update(930)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "train  930/1000  0:00:52  10 rounds/s  0:00:07 left"


def test_metrics_stay_until_there_are_new_ones(clock, capsys):
    with progress.Progress("train", total=5, line_every=0.0) as bar:
        bar.update(1, {"bound": 1.0})
        clock.now += 1.0
        bar.update(2)
    assert capsys.readouterr().err.splitlines()[-1].endswith("bound 1")


def test_long_lines_are_not_broken_and_have_no_escapes(clock, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # what many CI services set
    with progress.Progress("train", total=5) as bar:
        bar.update(1, {f"metric_{i}": i for i in range(40)})
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "metric_39 39" in err
    assert "\x1b" not in err


def test_a_bar_on_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")
    with progress.Progress("train [x]", total=10, done=3) as bar:
        bar.update(4, {"bound": -21.43})
        time.sleep(0.01)
        bar.update(10, {"bound": -20.5})
    with progress.Progress("outer", total=10), progress.Progress("inner", total=10) as inner:
        inner.tell("compiling")  # rich has one live display only
    with progress.Progress("slow", total=10) as bar:
        bar.tell("compiling")
    assert re.search("slow.*0/10.*compiling", terminal.getvalue())
    assert "inner" not in terminal.getvalue()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    assert "train [x]" in text
    assert "━━" in text
    assert " 3/10" in text  # before the first update
    assert "10/10" in text
    assert "rounds/s" in text
    assert "bound -20.5" in text
