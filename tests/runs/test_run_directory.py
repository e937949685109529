import errno
import json
import math
import os
import platform
import subprocess
import sys
import types
from pathlib import Path

import jax
import pytest

from genmix.runs import run_directory
from genmix.runs.run_log import read_metrics

CONFIG = {"steps": 100, "data": {"name": "mnist", "shape": (28, 28)}, "rate": 1e-3}


def contents(path: Path) -> dict[str, bytes]:
    """Everything under a path, to show that a refusal leaves it alone."""
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def started(tmp_path: Path) -> Path:
    path = run_directory.prepare(tmp_path / "a" / "run", CONFIG, resume=False)
    (path / "metrics.jsonl").write_text("kept\n")
    return path


def test_a_new_run_gets_a_directory_with_its_config(tmp_path):
    path = run_directory.prepare(str(tmp_path / "a" / "run"), CONFIG, resume=False)
    assert path == tmp_path / "a" / "run"
    expected = {"steps": 100, "data": {"name": "mnist", "shape": [28, 28]}, "rate": 1e-3}
    assert json.loads((path / "config.json").read_text()) == expected
    assert [p.name for p in path.iterdir()] == ["config.json"]


def test_a_directory_with_other_files_may_take_a_new_run(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    run_directory.prepare(tmp_path, CONFIG, resume=False)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_second_run_in_the_same_directory_is_refused(tmp_path):
    path = started(tmp_path)
    before = contents(path)
    with pytest.raises(ValueError, match=r"already holds a run; pass --resume .* another --out"):
        run_directory.prepare(path, CONFIG | {"steps": 7}, resume=False)
    assert contents(path) == before


def test_resuming_with_the_same_config_changes_nothing(tmp_path):
    path = started(tmp_path)
    before = contents(path)
    assert run_directory.prepare(path, CONFIG, resume=True) == path
    assert contents(path) == before


def test_resuming_with_another_config_names_each_field_with_both_values(tmp_path):
    path = started(tmp_path)
    before = contents(path)
    other = {"steps": 200, "data": {"name": "omniglot", "shape": (28, 28)}, "seed": 1}
    with pytest.raises(ValueError, match="was started with another configuration") as error:
        run_directory.prepare(path, other, resume=True, free=["steps"])
    lines = str(error.value).splitlines()
    assert lines[1:-1] == [
        '  data.name: the run has "mnist", you pass "omniglot"',
        "  rate: the run has 0.001, you pass nothing",
        "  seed: the run has nothing, you pass 1",
    ]
    assert "not even a number of steps, on which schedules depend" in lines[-1]
    assert "new run with another --out" in lines[-1]
    assert contents(path) == before


def test_free_fields_may_differ_and_are_written_down(tmp_path):
    path = started(tmp_path)
    other = {"steps": 200, "data": {"name": "omniglot", "shape": [28, 28]}, "rate": 1e-3}
    run_directory.prepare(path, other, resume=True, free=["steps", "data.name"])
    assert json.loads((path / "config.json").read_text()) == other


def test_resuming_nothing_is_refused_and_creates_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"no run to resume in .*leave out --resume"):
        run_directory.prepare(tmp_path / "none", CONFIG, resume=True)
    assert not (tmp_path / "none").exists()
    with pytest.raises(ValueError, match=r"for it has no config\.json"):
        run_directory.prepare(tmp_path, CONFIG, resume=True)


@pytest.mark.parametrize("resume", [False, True])
def test_a_file_in_place_of_the_directory_is_refused(tmp_path, resume):
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(ValueError, match="is a file, so a run cannot be kept there"):
        run_directory.prepare(path, CONFIG, resume=resume)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("text", [b'{"steps": 1', b"\xff\xfe\x00", b"[1]", b""])
def test_a_damaged_config_is_refused_and_kept(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text)
    with pytest.raises(ValueError, match=r"config.json is damaged .*another --out"):
        run_directory.prepare(tmp_path, CONFIG, resume=True)
    assert contents(tmp_path) == {"config.json": text}


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [(float("nan"), ValueError, "not JSON compliant"), (Path("x"), TypeError, "not JSON")],
)
def test_a_config_that_json_cannot_hold_creates_nothing(tmp_path, value, error, text):
    with pytest.raises(error, match=text):
        run_directory.prepare(tmp_path / "run", {"clip": value}, resume=False)
    assert not (tmp_path / "run").exists()


def test_write_json_replaces_the_file_at_once(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    run_directory.write_json(path, {"a": 1})
    seen = []

    def replace(source, target):
        seen.append((json.loads(Path(source).read_text()), json.loads(Path(target).read_text())))
        raise OSError("killed here")

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError, match="killed here"):
        run_directory.write_json(path, {"a": 2})
    assert seen == [({"a": 2}, {"a": 1})]
    assert contents(tmp_path) == {"x.json": b'{\n  "a": 1\n}\n'}


def test_write_json_on_a_full_disk_names_the_file_and_keeps_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    run_directory.write_json(path, {"a": 1})

    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=f"No space left on device: '{path}'"):
        run_directory.write_json(path, {"a": 2})
    assert contents(tmp_path) == {"x.json": b'{\n  "a": 1\n}\n'}


def test_write_json_refuses_infinity_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "x.json"
    run_directory.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        run_directory.write_json(path, {"a": float("inf")})
    assert json.loads(path.read_text()) == {"a": 1}


def test_a_locked_directory_is_refused_and_says_who_is_in_it(tmp_path):
    path = tmp_path / "a" / "run"
    with run_directory.locked(path):
        text = rf"{path} is in use by process {os.getpid()} on .*: wait until .* another --out"
        with pytest.raises(BlockingIOError, match=text):
            with run_directory.locked(str(path)):
                raise AssertionError("two in one directory")
    with run_directory.locked(path):  # free again; the note of the first is written over
        assert (path / ".lock").read_text().count("process") == 1


def test_a_lock_ends_with_its_process(tmp_path):
    program = (
        "import sys, time; from genmix.runs import run_directory\n"
        "with run_directory.locked(sys.argv[1]):\n"
        "    print('locked', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "locked\n"
    with pytest.raises(BlockingIOError, match=f"in use by process {process.pid} on"):
        with run_directory.locked(tmp_path):
            raise AssertionError("two in one directory")
    process.kill()
    process.communicate()
    with run_directory.locked(tmp_path):
        pass


def without_locks(*arguments):
    raise OSError(errno.ENOLCK, "No locks available")


@pytest.mark.parametrize(
    "fcntl", [None, types.SimpleNamespace(flock=without_locks, LOCK_EX=1, LOCK_NB=2)]
)
def test_where_there_are_no_locks_a_warning_says_so(tmp_path, monkeypatch, fcntl):
    monkeypatch.setitem(sys.modules, "fcntl", fcntl)
    entered = False
    with pytest.warns(UserWarning, match="cannot be locked .* nothing keeps a second process"):
        with run_directory.locked(tmp_path):
            entered = True
    assert entered


def test_versions_name_packages_and_devices(tmp_path):
    versions = run_directory.versions()
    assert versions["python"] == platform.python_version()
    assert versions["jax"] == jax.__version__
    assert versions["device"] == jax.devices()[0].device_kind
    assert versions["device_count"] == len(jax.devices())
    names = "python platform genmix jax jaxlib flax optax numpy device device_count"
    assert set(versions) == set(names.split())
    run_directory.write_json(tmp_path / "versions.json", versions)


def test_versions_of_a_package_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(run_directory, "_PACKAGES", ("surely-not-installed",))
    assert run_directory.versions()["surely-not-installed"] is None


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    """A git repository that stands for the source tree."""
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME"):
        monkeypatch.setenv(name, "someone")
    monkeypatch.setenv("GIT_COMMITTER_EMAIL", "someone")
    monkeypatch.setattr(run_directory, "_SOURCE", tmp_path)
    (tmp_path / "run_directory.py").write_text("old")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    return tmp_path


def test_git_commit_of_a_clean_and_a_changed_tree(repository):
    head = subprocess.run(
        ["git", "-C", str(repository), "rev-parse", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    subprocess.run(["git", "-C", str(repository), "tag", "-am", "v1", "v1"], check=True)
    assert run_directory.git_commit() == head
    (repository / "run_directory.py").write_text("new")
    assert run_directory.git_commit() == f"{head}-dirty"


def test_git_commit_of_an_installed_package_is_not_that_of_the_project_around_it(
    repository, monkeypatch
):
    inner = repository / "venv"
    inner.mkdir()
    (inner / "run_directory.py").write_text("untracked")
    monkeypatch.setattr(run_directory, "_SOURCE", inner)
    assert run_directory.git_commit() is None


def test_git_commit_outside_git_or_without_git(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(run_directory, "_SOURCE", tmp_path)
    assert run_directory.git_commit() is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run_directory.git_commit() is None
    assert capfd.readouterr() == ("", "")


def test_what_a_killed_process_left_is_cleared_by_the_next_start(tmp_path):
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    left = [f".config.json.{gone.pid}.tmp", f"a/.samples.png.{gone.pid}.tmp"]
    left += [f".results.json.{os.getpid()}.tmp", ".results.json.99999999999.tmp"]
    others = [f".config.json.{os.getppid()}.tmp", ".notes.tmp", "a/config.json.1.tmp", ".x.y.tmp"]
    (tmp_path / "a").mkdir()
    for resume in (False, True):
        for name in (*left, *others):
            (tmp_path / name).touch()
        run_directory.prepare(tmp_path, {"k": 1}, resume=resume)
        assert not any((tmp_path / name).exists() for name in left)
        assert all((tmp_path / name).exists() for name in others)
        (tmp_path / left[0]).touch()
        with pytest.raises(ValueError, match="another configuration"):
            run_directory.prepare(tmp_path, {"k": 2}, resume=True)
        assert (tmp_path / left[0]).exists()  # a refusal changes nothing


def test_figures_that_are_not_finite_do_not_lose_the_others(tmp_path):
    rows = [{"nll": 1.5, "nll_standard_error": math.nan}, {"values": (math.inf, 2)}]
    run_directory.write_results(tmp_path, 0.0, rows=rows)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["rows"] == [{"nll": 1.5, "nll_standard_error": None}, {"values": [None, 2]}]
    assert results["not_finite"] == {
        "rows[0].nll_standard_error": "nan: a standard error needs two events or more",
        "rows[1].values[0]": "inf",
    }


def test_a_device_is_not_read_as_a_file(tmp_path):
    (tmp_path / "config.json").symlink_to("/dev/full")
    with pytest.raises(
        ValueError, match=r"config\.json is damaged \(.* is no file, but a folder or a"
    ):
        run_directory.prepare(tmp_path, {"k": 1}, resume=True)
    (tmp_path / "metrics.jsonl").symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=r"metrics\.jsonl is no file, but a folder or a device"):
        read_metrics(tmp_path / "metrics.jsonl")
