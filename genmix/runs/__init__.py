"""What surrounds a run: its directory, log, progress, checkpoints, interruption, command line."""

from genmix.runs import (
    checkpoints,
    command_line,
    interruption,
    memory,
    progress,
    run_directory,
    run_log,
    saved,
)

__all__ = [
    "checkpoints",
    "command_line",
    "interruption",
    "memory",
    "progress",
    "run_directory",
    "run_log",
    "saved",
]
