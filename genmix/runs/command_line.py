"""Run an experiment from its typed configuration, and print what came of it."""

import dataclasses
import math
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from genmix.runs import memory
from genmix.runs.interruption import Interrupted

Config = TypeVar("Config")


def run(main: Callable[[Config], object], config_type: type[Config]) -> None:
    """Parse the command line into a configuration and run `main` on it.

    What the user can mend (a value, a file, or a size for which there is no memory) is told in one
    line, with exit code 2; for the traceback behind it set GENMIX_TRACEBACK=1. A run that SIGINT or
    SIGTERM has stopped exits with 130 or 143, as shells expect.
    """
    import tyro

    try:
        _require_words(sys.argv[1:])
        config = tyro.cli(config_type, description=sys.modules["__main__"].__doc__)
        _require_numbers(config)
        main(config)
    except _MENDABLE as error:
        if os.environ.get("GENMIX_TRACEBACK") or not (message := _what_to_mend(error)):
            raise
        print(f"error: {message}", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None
    except Interrupted as interrupted:
        print(interrupted, file=sys.stderr)  # noqa: T201
        raise SystemExit(128 + interrupted.signum) from None
    except KeyboardInterrupt:
        text = "interrupted: --resume with the same --out goes on"
        print(text, file=sys.stderr)  # noqa: T201
        raise SystemExit(130) from None


_MENDABLE = (
    *(ValueError, TypeError, OSError, FloatingPointError, OverflowError, MemoryError),
    jax.errors.JaxRuntimeError,
)


def _what_to_mend(error: BaseException) -> str:
    """One line; none if the error is no one's but the program's."""
    text = " ".join(str(error).split())
    if isinstance(error, jax.errors.JaxRuntimeError):
        if not text.startswith("RESOURCE_EXHAUSTED"):
            return ""
        sizes = [memory.words(int(n)) for n in re.findall(r"(\d+) bytes", text)[:1]]
        return " ".join(["out of memory", *(f"(for an array of {size})" for size in sizes)]) + (
            ": use smaller networks, batches or numbers of particles."
        )
    return text or type(error).__name__


def _require_words(arguments: Sequence[str]) -> None:
    """Refuse what no option means and no terminal should get: nothing, and control characters."""
    for before, argument in zip(["", *arguments], arguments, strict=False):
        name, equals, value = argument.partition("=")
        if not argument or (name.startswith("--") and equals and not value):
            option = name or before
            raise ValueError(
                f"{option} has an empty value: leave the option out for its default, or give one."
            )
        if any(unicodedata.category(letter) == "Cc" for letter in argument):
            raise ValueError(f"an argument holds control characters: {argument!a}.")


def _require_numbers(config: Any) -> None:
    """Refuse numbers that the arrays of JAX cannot hold, wherever in a configuration they are."""
    floats = np.finfo(jax.dtypes.canonicalize_dtype(np.float64))
    smallest, largest = float(floats.smallest_subnormal), float(floats.max)
    for name, value in _numbers(config):
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError(f"{option} must be a whole number of 64 bits, got {value}.")
        if isinstance(value, float) and largest < abs(value) < math.inf:
            raise ValueError(f"{option} must be at most {largest:.4g}, got {value:g}.")
        if isinstance(value, float) and 0 < abs(value) < smallest:
            raise ValueError(f"{option} must be 0 or at least {smallest:.4g}, got {value:g}.")


def _numbers(config: Any, name: str = "") -> Iterator[tuple[str, int | float]]:
    """Names and values of the numbers in a configuration; those of fields of fields as "a.b"."""
    if isinstance(config, int | float):
        yield name, config
    elif isinstance(config, tuple | list):
        for item in config:
            yield from _numbers(item, name)
    elif dataclasses.is_dataclass(config):
        for field in dataclasses.fields(config):
            inner = f"{name}.{field.name}" if name else field.name
            yield from _numbers(getattr(config, field.name), inner)


def print_paths(out: Path, *pictures: str) -> None:
    """Say where a run's pictures and figures are."""
    if pictures:
        print(f"pictures:    {', '.join(f'{out}/{name}' for name in pictures)}")  # noqa: T201
    print(f"figures:     {out}/results.json")  # noqa: T201
    if any(out.rglob("events.out.tfevents.*")):
        print(f"TensorBoard: {out} (pip install tensorboard; tensorboard --logdir {out})")  # noqa: T201
