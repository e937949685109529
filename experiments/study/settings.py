"""Settings of an experiment: fields with their types and ranges, checked when they are made.

A field says what it may be by its type: `hidden: Count = 100`, `k: tuple[Count, ...] = (1, 5)`,
`model: Each[Name] = ("VAE", "IWAE")`, `floor: Annotated[float, Rule(...)] = 0.01`. One that is None
has not been given, and passes; of a tuple each value is looked at.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union

import jax
import optax
import tyro

from genmix import data
from genmix.data import Dataset
from genmix.data.load import OWN
from genmix.training import Plan


class Rule(NamedTuple):
    """What a value must fulfil; `says` completes "NAME must"."""

    holds: Callable[[Any], bool]
    says: str


def at_least(least: int, why: str = "") -> Rule:
    return Rule(lambda value: value >= least, f"be at least {least} {why}".rstrip())


_Item = TypeVar("_Item")

# What is counted on a device is counted in 32 bits.
_FEW = Rule(lambda value: value < 2**31, "be below 2^31")
Count = Annotated[int, at_least(1), _FEW]
Positive = Annotated[float, Rule(lambda value: 0 < value < math.inf, "be positive")]
NotNegative = Annotated[float, Rule(lambda value: 0 <= value < math.inf, "not be negative")]
NotNegativeCount = Annotated[int, Rule(lambda value: value >= 0, "not be negative"), _FEW]
Share = Annotated[float, Rule(lambda value: 0 <= value <= 1, "be in [0, 1]")]
Fraction = Annotated[float, Rule(lambda value: 0 <= value < 1, "be in [0, 1)")]
Seed = Annotated[int, Rule(lambda value: 0 <= value < 2**63, "be between 0 and 2^63 - 1")]
# Runs are called after their numbers in the form %g.
_DISTINCT = Rule(
    lambda values: len({f"{v:g}" if isinstance(v, float) else v for v in values}) == len(values),
    "name each once",
)
Each = Annotated[tuple[_Item, ...], _DISTINCT, Rule(bool, "name at least one")]
"""One variant of the experiment for each value, which are different."""
AnyDataset = Annotated[str, tyro.conf.arg(metavar="{" + ",".join((*data.NAMES, *OWN)) + "}")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What every experiment lets its user choose."""

    seed: Seed = 0
    out: Path | None = None
    """Directory of the run; runs/NAME/TIME if not given."""

    def __post_init__(self):
        for name, hint in typing.get_type_hints(type(self), include_extras=True).items():
            for value, rule in _checks(getattr(self, name), hint):
                if not rule.holds(value):
                    raise ValueError(f"{name} must {rule.says}, got {getattr(self, name)}.")

    @property
    def key(self) -> jax.Array:
        return jax.random.key(self.seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resumable(Settings):
    """What an experiment that keeps checkpoints lets its user choose, too."""

    resume: bool = False
    """Go on with the run in --out, bit for bit."""
    debug: bool = False
    """If a number is not finite, name the operation that made it so; it may go with --resume."""

    def __post_init__(self):
        super().__post_init__()
        if self.resume and self.out is None:
            raise ValueError("resume needs --out DIR, the run to go on with.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Images(Settings):
    """What an experiment on images lets its user choose, too."""

    dataset: AnyDataset = "digits"
    """Yours is images:FOLDER or npz:FILE; tfds:NAME is of TensorFlow Datasets (docs/data.md)."""
    data_dir: Path | None = None
    """Folder that holds mnist/, binarized_mnist/, ...; the digits need none."""
    limit: Count | None = None
    """Images to validate and to test on, at most, evenly spaced in their sets; all by default."""

    def load(self, pixels: data.Pixels | None = None) -> Dataset:
        """The data set, bits if it has them and nothing else is asked for."""
        return data.thinned(data.load(self.dataset, self.data_dir, pixels), self.limit)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training(Resumable):
    """What an experiment that trains for one number of steps lets its user choose, too."""

    steps: Count = 5000
    batch_size: Count = 100
    learning_rate: Positive = 1e-3
    """At the start; it falls to zero along a cosine."""

    def falling(self, steps: int | None = None, rate: float | None = None) -> optax.Schedule:
        """The learning rate, or another, which falls to zero along a cosine over all steps."""
        start = self.learning_rate if rate is None else rate
        return optax.cosine_decay_schedule(start, self.steps if steps is None else steps)

    def plan(self, steps: int | None = None, *, reports: int = 50, **more: Any) -> Plan:
        """As many rounds as there are steps, or another number of them, in so many reports."""
        rounds = self.steps if steps is None else steps
        return plan(rounds, reports=reports, **{"batch_size": self.batch_size, **more})


def plan(rounds: int, batch_size: int, *, reports: int = 50, **more: Any) -> Plan:
    """So many rounds of training, in so many reports."""
    options: dict[str, Any] = {"rounds_per_call": max(rounds // reports, 1), **more}
    return Plan(num_rounds=rounds, batch_size=batch_size, **options)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnImages(Training, Images):
    """Training on images."""


LOCAL = (*("out", "resume", "debug", "data_dir"), *("mesh", "shard_parameters", "processes"))
"""Fields that change no number: a resumed run may have others."""


def _checks(value: Any, hint: Any) -> Iterator[tuple[Any, Rule]]:
    """What of a field's value must fulfil which rule."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if value is None or origin is Literal:
        return
    if origin is Annotated:
        yield from ((value, rule) for rule in arguments[1:] if isinstance(rule, Rule))
        yield from _checks(value, arguments[0])
    elif origin in (Union, types.UnionType):
        for argument in arguments:
            yield from _checks(value, argument)
    elif origin is tuple:
        for item in value:
            yield from _checks(item, arguments[0])
