"""The directory of a run: its configuration, the versions that made it, and files that never tear.

With several hosts only one process prepares the directory and writes to it.
"""

import contextlib
import dataclasses
import datetime
import importlib.metadata
import json
import math
import os
import platform
import re
import socket
import subprocess
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

_CONFIG = "config.json"
_LOCK = ".lock"
_TEMPORARY = re.compile(r"\..+\.(\d+)\.tmp", re.ASCII)  # see `write_text`
_SOURCE = Path(__file__).resolve().parent
_PACKAGES = ("genmix", "jax", "jaxlib", "flax", "optax", "numpy")


def prepare(
    directory: str | Path, config: dict[str, Any], *, resume: bool, free: Sequence[str] = ()
) -> Path:
    """Create the directory of a new run, or check that an old one may be resumed.

    A refusal changes nothing on the disk. A resumed run's config.json is rewritten where a free
    field differs.

    Args:
        config: the configuration, of what JSON can hold; it is kept in config.json.
        free: fields that may differ on resuming; "train.steps" is a field of a field.

    Raises:
        ValueError: if the directory holds a run already and resume is False; if resume is True
            and it holds none, or one whose configuration differs or cannot be read; or if the
            path is that of a file.
    """
    path = Path(directory)
    new = json.loads(_dumps(config))  # as it will be read back: tuples are lists there
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file, so a run cannot be kept there; pass another --out.")
    if not (path / _CONFIG).exists():
        if resume:
            raise ValueError(
                f"There is no run to resume in {path}, for it has no {_CONFIG}; leave out --resume "
                f"to start one, or pass the --out of the run."
            )
        path.mkdir(parents=True, exist_ok=True)
        _clear_away(path)
        write_json(path / _CONFIG, new)
        return path
    if not resume:
        raise ValueError(
            f"{path} already holds a run; pass --resume to continue it, or another --out to start "
            f"a new one."
        )
    old = _read_config(path / _CONFIG)
    different = [line for name, line in _differences(old, new) if name not in free]
    if different:
        raise ValueError(
            f"The run in {path} was started with another configuration:\n"
            + "\n".join(different)
            + "\nA resumed run ends as the undisturbed one would have, so none of these may change "
            "(not even a number of steps, on which schedules depend). Resume it with its own "
            "configuration, or start a new run with another --out."
        )
    _clear_away(path)
    if new != old:
        write_json(path / _CONFIG, new)
    return path


def _clear_away(directory: Path) -> None:
    """Delete what killed processes of this machine have left half written, anywhere in a run."""
    for path in directory.rglob(".*.tmp"):
        found = _TEMPORARY.fullmatch(path.name)
        if found is not None and path.is_file() and not _is_running(int(found[1])):
            path.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    if process == os.getpid():  # nothing is being written now, so it is of one with the same number
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # of another user; or no number of a process
        return process < 2**31
    return True


LOCAL = ("out", "resume", "debug", "data_dir")
"""Fields of experiments' configurations that change no number: a resumed run may have others."""


def begin(experiment: str, config: Any, *, local: Sequence[str] = LOCAL) -> Path:
    """Directory of an experiment's run: config.out, or runs/EXPERIMENT/TIME.

    Args:
        config: a dataclass with a field out; where it has resume, that says if a run goes on.
        local: fields that are not kept in config.json, where there are such.

    Raises:
        ValueError: as `prepare`.
    """
    fields = dataclasses.asdict(config)
    settings = {k: v for k, v in fields.items() if k not in local}
    out = config.out or default(experiment)
    return prepare(out, settings, resume=fields.get("resume", False))


def default(experiment: str) -> Path:
    """runs/EXPERIMENT/TIME."""
    return Path("runs") / experiment / datetime.datetime.now().strftime("%Y%m%d-%H%M%S")


def write_results(directory: Path, start: float, **entries: Any) -> None:
    """Write results.json: the entries, the seconds since `start`, and what made them.

    A figure that is not finite is null there, and `not_finite` says what it was: a run's figures
    are not lost for one of them.

    Args:
        start: of `time.perf_counter()`.
    """
    made = {
        "wall_seconds": time.perf_counter() - start,
        "versions": versions(),
        "git_commit": git_commit(),
    }
    not_finite = dict(_not_finite(entries, ""))
    reasons = {"not_finite": not_finite} if not_finite else {}
    write_json(directory / "results.json", _nulled(entries) | reasons | made)


def _is_not_finite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _not_finite(entry: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(entry, Mapping):
        for name, value in entry.items():
            yield from _not_finite(value, f"{place}.{name}" if place else str(name))
    elif isinstance(entry, list | tuple):
        for i, value in enumerate(entry):
            yield from _not_finite(value, f"{place}[{i}]")
    elif _is_not_finite(entry):
        error = place.endswith(("standard_error", "error"))
        yield place, f"{entry}" + (": a standard error needs two events or more" if error else "")


def _nulled(entry: Any) -> Any:
    if isinstance(entry, Mapping):
        return {name: _nulled(value) for name, value in entry.items()}
    if isinstance(entry, list | tuple):
        return [_nulled(value) for value in entry]
    return None if _is_not_finite(entry) else entry


@contextlib.contextmanager
def locked(directory: str | Path) -> Iterator[None]:
    """Keep every other process out of a run's directory, which is created if it does not exist.

    The lock ends with the process, however that dies. Where the file system has no locks, a warning
    says so.

    Raises:
        BlockingIOError: if another process (or another `with` block of this one) is in it.
    """
    path = Path(directory)
    path.mkdir(parents=True, exist_ok=True)
    file = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _lock(file, path)
        yield
    finally:
        os.close(file)


def _lock(file: int, directory: Path) -> None:
    try:
        import fcntl  # there is none on Windows

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(file, 200).decode(errors="replace") or "another process"
        raise BlockingIOError(
            f"{directory} is in use by {holder}: wait until it has finished or stop it, or pass "
            f"another --out."
        ) from None
    except (ImportError, OSError) as error:
        warnings.warn(
            f"{directory} cannot be locked ({error}), so nothing keeps a second process out of it.",
            stacklevel=4,
        )
    else:
        with contextlib.suppress(OSError):  # a full disk is told of by what matters
            os.truncate(file, 0)
            os.write(file, f"process {os.getpid()} on {socket.gethostname()}".encode())


def versions() -> dict[str, str | int | None]:
    """What the numbers of a run may depend on: Python, platform, packages and devices.

    A package that runs from its source without being installed has version None.
    """
    packages: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            packages[name] = None
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **packages,
        "device": jax.devices()[0].device_kind,
        "device_count": jax.device_count(),
    }


def git_commit() -> str | None:
    """The commit of the source tree, with "-dirty" after it if a tracked file has changed.

    None where the source is not under git's control, git is not installed, or it fails.
    """
    # A package that is installed inside some other project's repository is not tracked there.
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    return _git("describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")


def write_json(path: str | Path, obj: Any) -> None:
    """Write strict JSON, so that at any moment the file is the old one or the whole new one.

    Raises:
        ValueError: if obj holds NaN or an infinity, which JSON has no word for.
        TypeError: if obj holds anything else that JSON cannot.
    """
    write_text(path, _dumps(obj) + "\n")


def write_text(path: str | Path, text: str) -> None:
    """Write a file such that at any moment it is the old one or the whole new one."""
    write_bytes(path, text.encode())


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file such that at any moment it is the old one or the whole new one."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming(path), temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # else the rename may reach the disk before the content does
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_bytes(path: str | Path) -> bytes:
    """All of a file, which is one: a device such as /dev/full would be read without end.

    Raises:
        ValueError: if there is something else under its name.
        OSError: if there is nothing, or it cannot be read.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no file, but a folder or a device; remove it.")
    return path.read_bytes()


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have an OSError name the file, which that of a write to an open file does not."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _dumps(obj: Any) -> str:
    return json.dumps(obj, indent=2, allow_nan=False)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:  # not JSON, not even text, or nested without end
        raise ValueError(
            f"{path} is damaged ({error}); repair it, or start a new run with another --out."
        ) from error
    if not isinstance(config, dict):
        raise ValueError(
            f"{path} is damaged (it holds no fields); repair it, or start a new run with another "
            f"--out."
        )
    return config


def _differences(old: Any, new: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Name and description of each field that differs, fields of fields as "a.b"."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            inner = f"{name}.{key}" if name else key
            if key not in new:
                yield inner, f"  {inner}: the run has {json.dumps(old[key])}, you pass nothing"
            elif key not in old:
                yield inner, f"  {inner}: the run has nothing, you pass {json.dumps(new[key])}"
            else:
                yield from _differences(old[key], new[key], inner)
    elif old != new:
        yield name, f"  {name}: the run has {json.dumps(old)}, you pass {json.dumps(new)}"


def _git(*arguments: str) -> str | None:
    """What git prints about the source tree; None if it cannot be run or fails."""
    command = ["git", "-C", str(_SOURCE), *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
