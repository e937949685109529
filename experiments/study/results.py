"""What an experiment leaves in its directory and on the screen."""

from pathlib import Path

from genmix.runs import command_line


def say_where(out: Path) -> None:
    """The pictures and figures of a run; of pictures of the same name in several folders one."""
    names = [path.relative_to(out) for path in sorted(out.rglob("*.png"))]
    patterns = [
        str(n) if len(n.parts) == 1 else f"{'*/' * (len(n.parts) - 1)}{n.name}" for n in names
    ]
    command_line.print_paths(out, *dict.fromkeys(patterns))
