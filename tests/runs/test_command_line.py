"""The command line of an experiment: what it refuses, and how it exits."""

import dataclasses
import json
import signal
import sys
import time
from pathlib import Path

import pytest

from experiments import iwae
from genmix.runs import command_line, run_directory
from genmix.runs.interruption import Interrupted

TINY = ["--k", "2", "--objective", "iwae", "--steps", "5", "--particles", "2"]
TINY += ["--hidden", "4", "--latent", "2"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    times: int = 1


def exit_of(monkeypatch, capsys, main, config, *arguments: str) -> tuple[int, str]:
    """Exit code and stderr, as one line."""
    monkeypatch.setattr(sys, "argv", ["program", *arguments])
    with pytest.raises(SystemExit) as exit:
        command_line.run(main, config)
    assert isinstance(exit.value.code, int)
    return exit.value.code, capsys.readouterr().err


def contents(folder: Path) -> dict[Path, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path: path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ValueError("two\n  lines"), 2, "error: two lines\n"),
        (OSError(28, "No space left", "a/b"), 2, "error: [Errno 28] No space left: 'a/b'\n"),
        (FloatingPointError("nan"), 2, "error: nan\n"),
        (Interrupted("saved", signal.SIGINT), 130, "saved\n"),
        (Interrupted("saved", signal.SIGTERM), 143, "saved\n"),
        (KeyboardInterrupt(), 130, "interrupted: --resume with the same --out goes on\n"),
    ],
)
def test_what_stops_a_program_is_told_in_one_line(monkeypatch, capsys, error, code, text):
    def main(config):
        raise error

    assert exit_of(monkeypatch, capsys, main, Config) == (code, text)


def test_a_traceback_on_request_and_of_bugs(monkeypatch):
    def main(config):
        raise KeyError("bug") if config.times == 2 else ValueError("mine")

    monkeypatch.setattr(sys, "argv", ["program", "--times", "2"])
    with pytest.raises(KeyError, match="bug"):
        command_line.run(main, Config)
    monkeypatch.setattr(sys, "argv", ["program"])
    monkeypatch.setenv("GENMIX_TRACEBACK", "1")
    with pytest.raises(ValueError, match="mine"):
        command_line.run(main, Config)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """An experiment's configuration."""

    k: tuple[int, ...] = (1, 5)
    patience: int | None = None
    rate: float = 0.1
    method: tuple[str, ...] = ("a",)
    out: Path | None = None
    resume: bool = False

    def __post_init__(self):
        command_line.require(self, counts=("k", "patience"), positive=("rate",), names=("method",))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": (3, 0)}, r"k must be at least 1, got \(3, 0\)\."),
        ({"k": ()}, r"k must be at least 1, got \(\)\."),
        ({"patience": 0}, r"patience must be at least 1, got 0\."),
        ({"rate": 0.0}, r"rate must be positive, got 0\.0\."),
        ({"rate": float("nan")}, r"rate must be positive, got nan\."),
        ({"rate": float("inf")}, r"rate must be positive, got inf\."),
        ({"method": ()}, r"method needs at least one name, got none\."),
        ({"resume": True}, r"resume needs --out DIR, the run to go on with\."),
    ],
)
def test_configurations_that_make_no_sense_are_refused(options, message):
    Run(patience=3)
    with pytest.raises(ValueError, match=message):
        Run(**options)


def test_a_run_begins_and_ends_in_its_directory(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    out = run_directory.begin("trial", Run())
    assert out.parent == Path("runs/trial")
    config = {"k": [1, 5], "patience": None, "rate": 0.1, "method": ["a"]}
    assert json.loads((out / "config.json").read_text()) == config
    with pytest.raises(ValueError, match="already holds a run"):
        run_directory.begin("trial", Run(out=out))
    assert run_directory.begin("trial", Run(out=out, resume=True)) == out
    run_directory.write_results(out, time.perf_counter() - 1, rows=[1.5])
    results = json.loads((out / "results.json").read_text())
    assert set(results) == {"rows", "wall_seconds", "versions", "git_commit"}
    assert results["rows"] == [1.5]
    assert 1 <= results["wall_seconds"] < 60
    command_line.print_paths(out, "curves.png", "*/samples.png")
    assert f"pictures:    {out}/curves.png, {out}/*/samples.png\n" in capsys.readouterr().out


def test_tables_leave_empty_what_a_row_has_not(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    rows = [{"model": "VAE", "nll": 1.234, "size": 12345}, {"model": "baseline", "nll": 2.0}]
    columns = {"model": "{model}", "NLL": "{nll:.2f}", "parameters": "{size:,}"}
    command_line.print_table("digits", columns, rows)
    lines = [line.strip("│┃ ").replace("┃", "│") for line in capsys.readouterr().out.splitlines()]
    cells = [[cell.strip() for cell in line.split("│")] for line in lines if "│" in line]
    assert cells == [
        ["model", "NLL", "parameters"],
        ["VAE", "1.23", "12,345"],
        ["baseline", "2.00"],
    ]


def test_an_experiment_resumes_with_its_own_configuration_only(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(iwae, "run_all", lambda *arguments: [])
    out = str(tmp_path / "run")
    monkeypatch.setattr(sys, "argv", ["iwae", *TINY, "--out", out])
    command_line.run(iwae.main, iwae.Config)
    before = contents(tmp_path)
    run = lambda *more: exit_of(monkeypatch, capsys, iwae.main, iwae.Config, *TINY, *more)
    code, error = run("--out", out)
    assert (code, "pass --resume to continue it, or another --out" in error) == (2, True)
    code, error = run("--out", out, "--resume", "--steps", "6", "--seed", "1", "--debug")
    assert code == 2
    for part in (
        "was started with another configuration: steps: the run has 5, you pass 6 "
        "seed: the run has 0, you pass 1 A resumed run",
        "none of these may change (not even a number of steps, on which schedules depend)",
    ):
        assert part in error
    with run_directory.locked(out):
        code, error = run("--out", out, "--resume")
        assert (code, f"error: {out} is in use by process" in error) == (2, True)
    assert contents(tmp_path) == before
