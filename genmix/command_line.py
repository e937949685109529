"""Run an experiment from its typed configuration."""

import os
import sys
from collections.abc import Callable
from typing import TypeVar

Config = TypeVar("Config")


def run(main: Callable[[Config], object], config_type: type[Config]) -> None:
    """Parse the command line into a configuration and run `main` on it.

    What the user can mend (a value or a file) is told in one line, with exit code 2; for the
    traceback behind it set GENMIX_TRACEBACK=1.
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
    except KeyboardInterrupt:
        print("interrupted: go on with --resume", file=sys.stderr)  # noqa: T201
        raise SystemExit(130) from None
