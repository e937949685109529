"""Parts that are trained together, by name."""

from typing import TYPE_CHECKING, Any

from flax import nnx


class Game(nnx.Module):
    """The parts of a game: `Game(generator=g, critic=d)` has them as `generator` and `critic`.

    A player owns the part of its own name unless it says otherwise, and a term is about the part
    that `Term.of` names.

    Raises:
        ValueError: if there are no parts, or one has a name that every `nnx.Module` uses.
    """

    def __init__(self, **parts: Any):
        if not parts:
            raise ValueError("Game needs parts by name, such as Game(generator=g, critic=d).")
        if taken := sorted(name for name in parts if hasattr(nnx.Module, name)):
            raise ValueError(
                f"a part of a game cannot be called {taken[0]!r}, which is a method of nnx.Module: "
                "choose another name."
            )
        for name, part in parts.items():
            setattr(self, name, part)

    if TYPE_CHECKING:

        def __setattr__(self, name: str, value: Any) -> None: ...

    def __getattr__(self, name: str) -> Any:
        # Reached only for what is not there; the signature tells type checkers of the parts.
        raise AttributeError(f"the game has no part {name!r}.")
