"""What an experiment leaves in its directory and on the screen."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from genmix.runs import command_line, run_directory


def write(out: Path, start: float, entries: Mapping[str, Any]) -> None:
    """Write results.json. A figure that is not finite is null there, and `not_finite` says why.

    Args:
        start: of `time.perf_counter()`.
    """
    bad = dict(_not_finite(entries, ""))
    reasons = {"not_finite": bad} if bad else {}
    run_directory.write_results(out, start, **_nulled(entries), **reasons)


def say_where(out: Path) -> None:
    """The pictures and figures of a run; of pictures of the same name in several folders one."""
    names = [path.relative_to(out) for path in sorted(out.rglob("*.png"))]
    patterns = [
        str(n) if len(n.parts) == 1 else f"{'*/' * (len(n.parts) - 1)}{n.name}" for n in names
    ]
    command_line.print_paths(out, *dict.fromkeys(patterns))


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
