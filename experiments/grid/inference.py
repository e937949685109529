"""What --posterior names: a plain posterior, and what is wrapped around it, innermost first."""

from typing import Literal, NamedTuple, get_args

Plain = Literal["diagonal", "full", "planar", "radial", "householder", "sylvester", "iaf", "naf"]
Wrapper = Literal["hamiltonian", "resampled", "optimized"]
COUNTS = {"hamiltonian": "leapfrog steps", "resampled": "draws", "optimized": "gradient steps"}


class Inference(NamedTuple):
    """Such as iaf+hamiltonian:5, from which IAF's draws are moved by five leapfrog steps."""

    plain: str
    wrappers: tuple[tuple[str, int], ...]  # their names and what COUNTS says


def parse(text: str) -> Inference:
    """PLAIN, WRAPPER:N or PLAIN+WRAPPER:N+...; what is not said to be wrapped is diagonal.

    Raises:
        ValueError: if a name is unknown, or a count is missing, no number or not positive.
    """
    first, *rest = text.split("+")
    plain, wrappers = (first, rest) if ":" not in first else ("diagonal", [first, *rest])
    if plain not in get_args(Plain):
        raise ValueError(
            f"--posterior {text}: {plain!r} is no posterior; there are {', '.join(get_args(Plain))}"
            f", and around them {', '.join(f'{name}:N' for name in COUNTS)}, joined by +."
        )
    return Inference(plain, tuple(_wrapper(text, word) for word in wrappers))


def _wrapper(text: str, word: str) -> tuple[str, int]:
    name, _, count = word.partition(":")
    if name not in COUNTS:
        raise ValueError(
            f"--posterior {text}: {name!r} wraps no posterior; {', '.join(COUNTS)} do."
        )
    if not count.isdecimal() or int(count) < 1:
        raise ValueError(
            f"--posterior {text}: {name} needs a number of {COUNTS[name]}, such as {name}:5; got "
            f"{count!r}."
        )
    return name, int(count)
