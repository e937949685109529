"""Run an experiment from its typed configuration, and print what came of it."""

import dataclasses
import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from genmix.runs.interruption import Interrupted

Config = TypeVar("Config")


def run(main: Callable[[Config], object], config_type: type[Config]) -> None:
    """Parse the command line into a configuration and run `main` on it.

    What the user can mend (a value or a file) is told in one line, with exit code 2; for the
    traceback behind it set GENMIX_TRACEBACK=1. A run that SIGINT or SIGTERM has stopped exits with
    130 or 143, as shells expect.
    """
    import tyro

    config = tyro.cli(config_type, description=sys.modules["__main__"].__doc__)
    try:
        main(config)
    except (ValueError, TypeError, OSError, FloatingPointError) as error:
        if os.environ.get("GENMIX_TRACEBACK"):
            raise
        message = " ".join(str(error).split())
        print(f"error: {message}", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None
    except Interrupted as interrupted:
        print(interrupted, file=sys.stderr)  # noqa: T201
        raise SystemExit(128 + interrupted.signum) from None
    except KeyboardInterrupt:
        text = "interrupted: --resume with the same --out goes on"
        print(text, file=sys.stderr)  # noqa: T201
        raise SystemExit(130) from None


def require(
    config: Any,
    *,
    counts: Sequence[str] = (),
    positive: Sequence[str] = (),
    names: Sequence[str] = (),
    at_least: Mapping[str, int | float] | None = None,
) -> None:
    """Refuse a configuration whose fields make no sense, for its __post_init__.

    A field that is None has not been given, and passes; a tuple's values are each looked at.

    Args:
        counts: fields of at least 1.
        positive: fields of finite numbers above 0.
        names: tuples of at least one name or number, each in it once.
        at_least: fields with their least value.

    Raises:
        ValueError: naming the first of them; or if there is a field resume, set without out.
    """
    given = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}

    def refuse(fields: Sequence[str], is_right: Callable[[Any], bool], rule: str) -> None:
        for field in fields:
            value = given[field]
            values = value if isinstance(value, tuple) else (value,)
            if value == () or not all(v is None or is_right(v) for v in values):
                raise ValueError(f"{field} must be {rule}, got {value}.")

    refuse(counts, lambda value: value >= 1, "at least 1")
    for field, least in (at_least or {}).items():
        refuse((field,), lambda value, least=least: value >= least, f"at least {least}")
    refuse(positive, lambda value: 0 < value < math.inf, "positive")
    for field in names:
        if not given[field]:
            raise ValueError(f"{field} needs at least one name, got none.")
        # Runs are called after their numbers in this form.
        if len({f"{v:g}" if isinstance(v, float) else v for v in given[field]}) < len(given[field]):
            raise ValueError(f"{field} must name each once, got {given[field]}.")
    if given.get("resume") and given["out"] is None:
        raise ValueError("resume needs --out DIR, the run to go on with.")


def require_batch(batch_size: int, num_examples: int, name: str) -> None:
    """Refuse, before anything is written, batches of more than all training examples.

    Raises:
        ValueError: naming the most that there are.
    """
    if batch_size > num_examples:
        raise ValueError(
            f"batch_size must be at most {num_examples}, the training examples of {name}; got "
            f"{batch_size}."
        )


def print_table(title: str, columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows; a column is a format such as "{nll:.2f}", empty where a row has no such field."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for i, name in enumerate(columns):
        table.add_column(name, justify="right" if i else "left", no_wrap=not i)

    def cell(template: str, row: Mapping[str, Any]) -> str:
        try:
            return template.format_map(row)
        except KeyError:
            return ""

    for row in rows:
        table.add_row(*(cell(template, row) for template in columns.values()))
    Console().print(table)


def print_paths(out: Path, *pictures: str) -> None:
    """Say where a run's pictures and figures are."""
    if pictures:
        print(f"pictures:    {', '.join(f'{out}/{name}' for name in pictures)}")  # noqa: T201
    print(f"figures:     {out}/results.json")  # noqa: T201
    if any(out.rglob("events.out.tfevents.*")):
        print(f"TensorBoard: {out} (pip install tensorboard; tensorboard --logdir {out})")  # noqa: T201
