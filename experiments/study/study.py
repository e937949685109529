"""From the statement of an experiment to its pictures, table and results."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jaxtyping import PyTree

from experiments.study import results, trial
from experiments.study.settings import LOCAL, Resumable, Settings
from experiments.study.table import Row, Table
from genmix import processes, sharding
from genmix.evaluation import pictures
from genmix.runs import run_directory
from genmix.runs.progress import Progress
from genmix.training import Plan, Player, Run, fit
from genmix.training.fit import History


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """A game of players to be trained; variants of one name are trained once.

    Attributes:
        name: of its progress bar, and of its folder unless that is given.
        row: what its row begins with.
        plan: it, or a function of the variant's directory to it.
        checkpoint_every: rounds between two checkpoints, if not as `Run` has it.
        folder: inside the run's directory; "" is that directory itself.
    """

    name: str
    row: Row
    build: Callable[[], Any]
    players: Sequence[Player]
    data: PyTree
    plan: Plan | Callable[[Path], Plan]
    folder: str | None = None
    checkpoint_every: int | None = None
    timed = "train_seconds"

    def planned(self, directory: Path = Path()) -> Plan:
        return self.plan(directory) if callable(self.plan) else self.plan

    def trace(self) -> jax.stages.Traced:
        """One round, on shapes alone."""
        return trial.traced(self.build, self.players, self.data, self.planned())

    def run(self, config: Settings, directory: Path) -> tuple[Any, History, float]:
        """Train it, or go on with its training: the model, its history, and the seconds."""
        run = Run(directory=directory, label=self.name, checkpoint_every=self.checkpoint_every)
        if isinstance(config, Resumable):
            run = dataclasses.replace(run, resume=config.resume, debug=config.debug)
        plan = self.planned(directory)
        fitted = fit(config.key, self.build(), self.players, self.data, plan, run)
        return fitted.model, fitted.history, fitted.seconds


@dataclasses.dataclass(frozen=True, kw_only=True)
class Computation:
    """What is no game of players, such as EM: a function of its directory to what it finds."""

    name: str
    row: Row
    compute: Callable[[Path], Any]
    folder: str | None = None
    timed = "seconds"

    def run(self, config: Settings, directory: Path) -> tuple[Any, History, float]:
        """It has no history, and is computed again if the run is resumed."""
        del config
        start = time.perf_counter()
        after = 0.0 if jax.process_index() == 0 else math.inf
        with Progress(self.name, total=1, unit="results", after=after) as bar:
            bar.tell("computing")
            found = jax.block_until_ready(self.compute(directory))
            bar.update(1)
        return found, {}, time.perf_counter() - start


class Result(NamedTuple):
    """What a variant has come to."""

    name: str
    row: Row
    model: Any  # a variant's trained model, or what a computation found
    history: History
    seconds: float
    out: Path  # the directory of the run
    directory: Path  # its own
    figures: Sequence[Row] = ()  # what was measured, in pictures of all


def _nothing(*arguments: Any) -> None:
    """Draw no pictures."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """What an experiment compares, and what is said of it.

    Attributes:
        variants: in the order of their rows.
        measure: a variant's result -> the figures of its row, or of several rows.
        tables: to print.
        units: of the figures in results.json.
        before: rows that need no training, such as a baseline's.
        draw_each: pictures of one result, into its directory.
        draw: pictures of all results, into the run's directory.
        facts: more for results.json and for titles, or a function of the run's directory to it.
        note: printed under the tables.
        mesh: of the devices to compute on; one if not given.
    """

    variants: Sequence[Variant | Computation]
    measure: Callable[[Result], Row | Sequence[Row]]
    tables: Sequence[Table]
    units: str
    before: Sequence[Row] = ()
    draw_each: Callable[[Result], object] = _nothing
    draw: Callable[[Path, Sequence[Result]], object] = _nothing
    facts: Row | Callable[[Path], Row] = dataclasses.field(default_factory=dict)
    note: str = ""
    mesh: jax.sharding.Mesh | None = None


def run(name: str, config: Any, experiment: Callable[[Any], Study]) -> list[dict[str, Any]]:
    """Run an experiment, or go on with it; its rows.

    Raises:
        ValueError: before anything is written, if the settings, the data or the parts do not go
            together; it says how.
    """
    start = time.perf_counter()
    study = experiment(config)
    out = config.out or run_directory.default(name)
    with contextlib.ExitStack() as stack:
        if study.mesh is not None:
            stack.enter_context(jax.set_mesh(study.mesh))
        check(study)

        def take_directory() -> None:
            run_directory.begin(name, dataclasses.replace(config, out=out), local=LOCAL)
            if all(variant.folder != "" for variant in study.variants):  # it locks its own
                stack.enter_context(run_directory.locked(out))

        processes.first_does(take_directory)
        found, rows = _results(study, config, out)
        study.draw(out, found)
        facts = study.facts(out) if callable(study.facts) else study.facts
    processes.first_does(lambda: _report(study, config, rows, dict(facts), out, start))
    return rows


def check(study: Study) -> None:
    """Try every variant on shapes alone."""
    tried = set()
    for variant in study.variants:
        if isinstance(variant, Variant) and variant.name not in tried:
            tried.add(variant.name)
            trial.require_batch(variant.data, variant.planned())
            try:
                variant.trace()
            except (TypeError, ValueError) as error:
                raise ValueError(f"{variant.name} cannot be trained: {error}") from error


def _results(
    study: Study, config: Settings, out: Path
) -> tuple[list[Result], list[dict[str, Any]]]:
    found: dict[str, Result] = {}
    rows = [dict(row) for row in study.before]
    for variant in study.variants:
        if variant.name not in found:
            folder = variant.name.replace(" ", "-") if variant.folder is None else variant.folder
            model, history, seconds = variant.run(config, out / folder)
            result = Result(
                variant.name,
                variant.row,
                sharding.replicated(model),
                history,
                seconds,
                out,
                out / folder,
            )
            measured = study.measure(result)
            study.draw_each(result)
            measured = [measured] if isinstance(measured, Mapping) else [*measured]
            found[variant.name] = result._replace(figures=measured)
        seconds = {variant.timed: found[variant.name].seconds}
        rows += [{**variant.row, **row, **seconds} for row in found[variant.name].figures]
    return list(found.values()), rows


def _report(
    study: Study, config: Settings, rows: Sequence[Row], facts: Row, out: Path, start: float
) -> None:
    entries = {"units": study.units, **facts, "seed": config.seed, "rows": rows}
    run_directory.write_results(out, start, **entries)  # first: a table may be refused
    for table in study.tables:
        table.show(rows, {**dataclasses.asdict(config), **facts})
    if study.note:
        print(study.note)
    results.say_where(out)


def save_curves(
    out: Path, found: Sequence[Result], metric: str, y_label: str, **options: Any
) -> None:
    """curves.png: a metric of each result's training."""
    curves = {result.name: result.history[metric] for result in found}
    draw = lambda: pictures.save_curves(
        out / "curves.png", curves, x_label="step", y_label=y_label, **options
    )
    processes.first_does(draw)
