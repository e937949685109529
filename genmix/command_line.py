"""Run an experiment from its typed configuration."""

import os
import sys
from collections.abc import Callable
from typing import TypeVar

from genmix.training.interruption import Interrupted

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
