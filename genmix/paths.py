"""Parts of a game by name."""

from collections.abc import Callable, Sequence
from typing import Any

Part = str | Callable[[Any], Any]
"""Of a game: its name, a dotted path such as "model.posterior", or a function of the game."""


def find(game: Any, part: Part) -> Any:
    """The part of a game.

    Raises:
        ValueError: if there is none of that name; it says which parts there are.
    """
    if callable(part):
        return part(game)
    found = game
    for name in part.split("."):
        parts = _parts(found)
        if name not in parts:
            raise ValueError(
                f"there is no part {name!r} in {type(found).__name__}; it has "
                f"{', '.join(parts) or 'no parts'}."
            )
        found = parts[name]
    return found


def _parts(module: Any) -> dict[str, Any]:
    if isinstance(module, Sequence):
        return {str(i): part for i, part in enumerate(module)}
    return {name: part for name, part in vars(module).items() if not name.startswith("_")}
