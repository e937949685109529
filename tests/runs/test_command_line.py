"""The command line of an experiment: what it refuses, and how it exits."""

import dataclasses
import json
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import jax
import pytest

from experiments import iwae, study
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


def test_an_experiment_resumes_with_its_own_configuration_only(tmp_path, monkeypatch, capsys):
    nothing = study.Study(variants=[], measure=lambda result: {}, tables=[], units="")
    monkeypatch.setattr(iwae, "experiment", lambda config: nothing)
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
        "was started with another configuration: seed: the run has 0, you pass 1 "
        "steps: the run has 5, you pass 6 A resumed run",
        "none of these may change (not even a number of steps, on which schedules depend)",
    ):
        assert part in error
    with run_directory.locked(out):
        code, error = run("--out", out, "--resume")
        assert (code, f"error: {out} is in use by process" in error) == (2, True)
    assert contents(tmp_path) == before


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
    depth: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Numbers:
    """Fields of all kinds, as experiments have them."""

    seed: int = 0
    rate: float = 0.1
    k: tuple[int, ...] = (1,)
    out: Path | None = None
    mesh: str | None = None
    inner: Inner = dataclasses.field(default_factory=Inner)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--seed 99999999999999999999", "--seed must be a whole number of 64 bits, got 9999999"),
        ("--k 1 -9223372036854775809", "--k must be a whole number of 64 bits, got -92233720"),
        ("--inner.depth 9223372036854775808", "--inner.depth must be a whole number of 64 bits"),
        ("--rate 1e308", "--rate must be at most 3.403e+38, got 1e+308."),
        ("--rate -1e39", "--rate must be at most 3.403e+38, got -1e+39."),
        ("--rate 1e-60", "--rate must be 0 or at least 1.401e-45, got 1e-60."),
        ("--out ", "--out has an empty value: leave the option out for its default, or give one."),
        ("--mesh ", "--mesh has an empty value: leave the option out"),
        ("--out=", "--out has an empty value"),
        ("--out a\x1b[2Jb", r"an argument holds control characters: 'a\x1b[2Jb'."),
        ("--out a\nb", r"an argument holds control characters: 'a\nb'."),
        ("--se\x07ed 1", r"an argument holds control characters: '--se\x07ed'."),
    ],
)
def test_what_no_array_and_no_terminal_holds_is_refused(monkeypatch, capsys, arguments, message):
    def main(config):
        raise AssertionError

    code, error = exit_of(monkeypatch, capsys, main, Numbers, *arguments.split(" "))
    assert (code, error[: len("error: " + message)]) == (2, "error: " + message)
    assert all(letter.isprintable() for letter in error.rstrip("\n"))


def test_what_can_be_held_passes(monkeypatch):
    seen = []
    arguments = ["--seed", str(2**63 - 1), "--rate", "3e38", "--k", "-1", "0", "--out", "a b=ä"]
    monkeypatch.setattr(sys, "argv", ["program", *arguments, "--inner.depth", "3", "--mesh=a="])
    command_line.run(seen.append, Numbers)
    expected = {"seed": 2**63 - 1, "rate": 3e38, "k": (-1, 0), "out": Path("a b=ä"), "mesh": "a="}
    assert seen == [Numbers(**expected, inner=Inner(depth=3))]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: allocating 24480000022784 bytes."),
            "out of memory (for an array of 24.5 TB): use smaller networks, batches or numbers of",
        ),
        (MemoryError("Unable to allocate 8.0 TiB"), "Unable to allocate 8.0 TiB\n"),
        (MemoryError(), "MemoryError\n"),
        (OverflowError("int too large"), "int too large\n"),
    ],
)
def test_memory_that_cannot_be_had_is_told_in_one_line(monkeypatch, capsys, error, text):
    def main(config):
        raise error

    code, told = exit_of(monkeypatch, capsys, main, Config)
    assert (code, told[: len("error: " + text)]) == (2, "error: " + text)
    assert told.count("\n") == 1


def test_other_errors_of_devices_are_bugs(monkeypatch):
    def main(config):
        raise jax.errors.JaxRuntimeError("INTERNAL: no")

    monkeypatch.setattr(sys, "argv", ["program"])
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        command_line.run(main, Config)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--estimator stl --k 1 5", "gradient of iwae is biased: use the doubly"),
        ("--estimator stl --k 5 --objective vr-max", "gradient of vr_max is biased: use the rep"),
        ("--k 2 2", r"k must name each once, got \(2, 2\)"),
        ("--shard-parameters", "shard_parameters needs --mesh, over whose devices"),
    ],
)
def test_iwae_refuses_what_would_be_silently_other(monkeypatch, capsys, arguments, message):
    code, error = exit_of(monkeypatch, capsys, iwae.main, iwae.Config, *arguments.split())
    assert code == 2
    assert re.search(message, re.sub(r"[\s│]+", " ", error)), error


def test_iwae_trains_with_stl_where_it_is_right():
    right: list[dict[str, Any]] = [{"k": (1,)}, {"k": (5,), "objective": ("elbo",)}]
    for options in right:
        assert iwae.Config(estimator="stl", **options).estimator == "stl"
