"""Training from start to end: rounds, reports, validation, checkpoints, early stopping."""

import contextlib
import dataclasses
import functools
import math
import signal
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Key, PyTree

from genmix import processes, sharding
from genmix.runs import memory, run_directory
from genmix.runs.checkpoints import Checkpoints
from genmix.runs.interruption import Interrupted, Interruption
from genmix.runs.progress import Progress
from genmix.runs.run_log import RunLog, read_metrics
from genmix.training import arguments, feed, finite, rounds
from genmix.training.plan import Plan
from genmix.training.player import Player
from genmix.training.rounds import GameState
from genmix.training.run import Run

History = dict[str, tuple[np.ndarray, np.ndarray]]


class Fit(NamedTuple):
    """What training leaves behind."""

    model: Any  # the best by validation if there was one, else the averaged one if kept, else last
    state: GameState  # after the last round
    history: History  # metric -> (rounds, means over the rounds since the report before)
    seconds: float  # spent in rounds, compilation apart


class _Best(NamedTuple):
    """The best validated model so far."""

    model: Any = None
    score: float = -math.inf
    round: int = 0


def fit(
    key: Key[Array, ""],
    model: Any,
    players: Sequence[Player],
    data: PyTree,
    plan: Plan,
    run: Run | None = None,
) -> Fit:
    """Train a model, or several that play against each other.

    Under `jax.set_mesh(genmix.sharding.make_mesh(...))` batches and particles are laid out along
    its axes; the numbers stay the same, to rounding.

    A run with a directory may be killed at any moment: resumed, it ends with the same bits and the
    same metrics as if nothing had happened. At SIGINT or SIGTERM it finishes the rounds up to the
    next report and saves them; of several processes it is enough that one gets the signal.

    Args:
        model: a part, or a module that holds those of all players.
        data: arrays with the examples along the first axis, which go to the device as a whole; or
            a stream (`genmix.data.stream.Stream`), whose position is kept with the checkpoints; or
            a `Dataset`, whose training images are used, under its own transform if `plan` has none.
        run: where it is logged; a progress bar and nothing on the disk if not given.

    Raises:
        FloatingPointError: if a loss is not finite, or a gradient made the state so; it names the
            round, the player and the metrics or parameters. Nothing of these rounds is kept.
        Interrupted: if SIGINT or SIGTERM came; it is a KeyboardInterrupt.
        MemoryError: if the rounds of one call would take more memory than there is.
        OSError: if the directory cannot be written to, or another process runs in it.
        ValueError: if the arguments make no sense together; it says how.
    """
    arguments.require(key, players, data)
    run = run or Run()
    if isinstance(data, feed.TrainingSet):
        plan = dataclasses.replace(plan, transform=plan.transform or data.transform)
        data = data.train
    state = rounds.start(key, model, players, keep_average=plan.average_decay is not None)
    state = sharding.replicated(state)
    if plan.scatter_from is not None:
        state = sharding.scattered(state, min_size=plan.scatter_from)
    training = _Training(players, plan, run, state, _feed(data, players, plan))
    interruption = Interruption()
    with contextlib.ExitStack() as stack:
        stack.callback(training.feed.close)
        if run.directory is not None:
            stack.enter_context(interruption)
            training.open(Path(run.directory), stack)
        if run.label is not None and jax.process_index() == 0:
            bar = Progress(run.label, total=plan.num_rounds, done=training.done)
            training.bar = stack.enter_context(bar)
        is_over = training.is_over
        while not (signum := processes.largest(interruption.signum or 0)) and not is_over():
            training.play()
        training.keep()
    if signum:
        name = signal.Signals(signum).name
        raise Interrupted(
            f"stopped by {name} after round {training.done} of {plan.num_rounds}, which is saved "
            f"in {run.directory}: --resume with the same --out goes on from there",
            signum,
        )
    return training.result()


def _feed(data: PyTree, players: Sequence[Player], plan: Plan) -> feed.InMemory | feed.Streamed:
    if not isinstance(data, feed.Streams):
        return feed.InMemory(data, plan.batch_size)
    batches_per_round = sum(player.steps for player in players)
    return feed.Streamed(data, batch_size=plan.batch_size, batches_per_round=batches_per_round)


class _Training:
    """A training between two reports."""

    log: RunLog | None = None
    checkpoints: Checkpoints | None = None
    bar: Progress | None = None

    def __init__(
        self,
        players: Sequence[Player],
        plan: Plan,
        run: Run,
        state: GameState,
        feed: feed.InMemory | feed.Streamed,
    ):
        self.players, self.plan, self.run = players, plan, run
        self.state, self.feed = state, feed
        self.done, self.best, self.seconds = 0, _Best(), 0.0
        self.history: dict[str, tuple[list[int], list[float]]] = {}
        # An optimizer may begin with an infinity, as the smallest loss so far.
        self._never_finite = set(finite.not_finite(state))
        self._compiled: dict[int, jax.stages.Compiled] = {}
        # The state is not donated: the one before a call is where a fault in it is looked for.
        self._compile = functools.partial(
            rounds.compile_rounds,
            players,
            batch_size=plan.batch_size,
            transform=plan.transform,
            average_decay=plan.average_decay,
            scatter_from=plan.scatter_from,
            data_are_batches=feed.gives_batches,
            donate=False,
        )

    def open(self, directory: Path, stack: contextlib.ExitStack) -> None:
        """Take the run's directory, and go on from where the run in it was if that is wanted."""
        is_first_host = jax.process_index() == 0
        if is_first_host:
            stack.enter_context(run_directory.locked(directory))
        self.checkpoints = stack.enter_context(Checkpoints(directory / "checkpoints"))
        if self.run.resume and self.checkpoints.latest_step() is not None:
            self._resume(self.checkpoints, directory)
        if is_first_host:
            resume_step = self.done if self.run.resume else None
            self.log = stack.enter_context(RunLog(directory, resume_step=resume_step))

    def _resume(self, checkpoints: Checkpoints, directory: Path) -> None:
        like = (self.state, self.feed.position())
        self.done, (self.state, position) = checkpoints.restore(like)
        self.feed.restore(position)
        for name, (steps, values) in read_metrics(directory / "metrics.jsonl").items():
            past = steps <= self.done  # the log may be ahead of the checkpoint
            if name != "time":
                self.history[name] = (steps[past].tolist(), values[past].tolist())
        self.seconds = [0.0, *self.history.get("seconds", ([], []))[1]][-1]
        for step, score in zip(*self.history.get("validation", ([], [])), strict=True):
            self._offer(None, score, step)
        lost = self.best.round  # until it is found; patience counts from it in any case
        try:
            step, (state, _) = checkpoints.restore_best(like)
            self.best = _Best(self._judged(state), checkpoints.score(step), max(step, lost))
            heir = f"that of round {step}"
        except FileNotFoundError:
            step, heir = 0, "the next one that is validated"
            self.best = _Best(round=lost)
        if lost not in (0, step):
            warnings.warn(
                f"The best model, of round {lost}, has no intact checkpoint in {directory}; {heir} "
                f"takes its place.",
                stacklevel=4,
            )

    def is_over(self) -> bool:
        """Whether all rounds are played, or validation has not improved for too long."""
        validation = self.plan.validation
        if validation is None or validation.patience is None:
            return self.done >= self.plan.num_rounds
        patience = validation.patience * validation.every
        return self.done >= self.plan.num_rounds or self.done - self.best.round >= patience

    def play(self) -> None:
        """Play the rounds up to the next report, and report them."""
        before = self.done
        num_rounds = self._rounds_until_report(before)
        data = self.feed.take(num_rounds)
        program = self._program(num_rounds, data)
        start = time.perf_counter()
        state, metrics = program(self.state, data)
        if next_rounds := self._rounds_until_report(before + num_rounds):
            self.feed.prepare(next_rounds)
        metrics = jax.device_get(metrics)
        self.seconds += time.perf_counter() - start
        self._require_finite(state, metrics, data)
        self.state, self.done = state, before + num_rounds
        means = {name: float(np.mean(values)) for name, values in metrics.items()}
        means["seconds"] = self.seconds
        score = self._validate(means)
        self._report(means)
        is_best = score is not None and self.best.round == self.done
        if self.checkpoints is not None and (is_best or self._keeps(before)):
            self.checkpoints.save(self.done, (self.state, self.feed.position()), score=score)

    def keep(self) -> None:
        """Save the last round, if that has not been done."""
        if self.checkpoints is not None and self.checkpoints.latest_step() != self.done:
            self.checkpoints.save(self.done, (self.state, self.feed.position()))

    def _keeps(self, before: int) -> bool:
        """Whether a checkpoint falls due after round `before`, up to the one that is done."""
        plan = self.plan
        default = plan.validation.every if plan.validation else max(plan.num_rounds // 10, 1)
        every = self.run.checkpoint_every or default
        return self.done // every > before // every

    def _rounds_until_report(self, done: int) -> int:
        plan = self.plan
        return min(plan.rounds_per_call - done % plan.rounds_per_call, plan.num_rounds - done)

    def _program(self, num_rounds: int, data: PyTree) -> jax.stages.Compiled:
        if num_rounds not in self._compiled:
            jitted = self._compile(num_rounds=num_rounds)
            if self.bar is not None:
                self.bar.tell("compiling")
            compiled = jitted.lower(self.state, data).compile()
            memory.require_program(compiled, f"a call of {num_rounds} rounds")
            self._compiled[num_rounds] = compiled
        return self._compiled[num_rounds]

    def _require_finite(
        self, state: GameState, metrics: dict[str, np.ndarray], data: PyTree
    ) -> None:
        """Refuse the state that some rounds end in, if it or a loss on the way is not finite."""
        leaves = [path for path in finite.not_finite(state) if path not in self._never_finite]
        losses = [values for name, values in metrics.items() if name.split("/")[-1] == "loss"]
        if not leaves and np.all(np.isfinite(losses)):
            return
        replay = finite.Replay(self._compile, self.players, self.state, data, self.done)
        what = replay.explanation(metrics, leaves)
        hint = "set debug=True (--resume --debug) to learn which operation makes it so"
        operation = f"the operation: {replay.operation()}" if self.run.debug else hint
        kept = "" if self.checkpoints is None else ", and the checkpoints before it are kept"
        raise FloatingPointError(
            f"{what}; training stops here{kept}. {replay.remedy(metrics)}; {operation}."
        )

    def _judged(self, state: GameState) -> Any:
        """The model that is validated, and handed out at the end."""
        return state.model if self.plan.average_decay is None else rounds.averaged_model(state)

    def _validate(self, means: dict[str, float]) -> float | None:
        validation = self.plan.validation
        if validation is None or self.done % validation.every:
            return None
        model = self._judged(self.state)
        score = means["validation"] = float(validation.score(model))
        if math.isnan(score):
            warnings.warn(
                f"The validation score of round {self.done} is NaN, which counts as no "
                f"improvement; the best is that of round {self.best.round}. Look at what the score "
                f"computes from the model.",
                stacklevel=4,
            )
        self._offer(model, score, self.done)
        return score

    def _offer(self, model: Any, score: float, round: int) -> None:
        if math.isfinite(score) and score > self.best.score:
            self.best = _Best(model, score, round)

    def _report(self, means: dict[str, float]) -> None:
        for name, value in means.items():
            steps, values = self.history.setdefault(name, ([], []))
            steps.append(self.done)
            values.append(value)
        if self.log is not None:
            self.log.write(self.done, means)
        if self.bar is not None:
            hidden = ("seconds", "loss")
            shown = {n: v for n, v in means.items() if n.split("/")[-1] not in hidden}
            self.bar.update(self.done, shown or means)

    def result(self) -> Fit:
        model = self._judged(self.state) if self.best.model is None else self.best.model
        history = {n: (np.array(s), np.array(v)) for n, (s, v) in self.history.items()}
        return Fit(model, self.state, history, self.seconds)
