"""Training from start to end: rounds, reports, validation, checkpoints, early stopping."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from genmix import sharding
from genmix.training import rounds
from genmix.training.checkpoints import Checkpoints
from genmix.training.player import Player
from genmix.training.progress import Progress
from genmix.training.rounds import GameState, Transform
from genmix.training.run_log import RunLog, read_metrics

History = dict[str, tuple[np.ndarray, np.ndarray]]


class Validation(NamedTuple):
    """When to look at held-out data, and when to stop for it.

    Attributes:
        score: model -> a number, higher is better, such as a bound on validation data.
        every: rounds between two looks.
        patience: looks without improvement after which training stops; never if None.
    """

    score: Callable[[Any], float]
    every: int
    patience: int | None = None


class Fit(NamedTuple):
    """What training leaves behind."""

    model: Any  # the best by validation if there was one, else the averaged one if kept, else last
    state: GameState  # after the last round
    history: History  # metric -> (rounds, means over the rounds since the report before)
    seconds: float  # spent in rounds, compilation apart


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """How long to train, and what to keep of it.

    Attributes:
        num_rounds: rounds in all, those before a resumption included.
        batch_size: examples of each batch.
        transform: (key, batch) -> batch, applied to each batch, such as a new binarization.
        average_decay: keep a moving average of the parameters with this decay a round.
        rounds_per_call: rounds between two reports, fused into one compiled call.
        validation: held-out score; without one nothing is held out.
        directory: where metrics.jsonl, TensorBoard events and checkpoints go; nowhere if None.
        checkpoint_every: rounds between two checkpoints; by default those of `validation`, or a
            tenth of `num_rounds`. The last round is always kept.
        resume: go on from the latest checkpoint of `directory`, bit for bit, if there is one.
        label: what the progress bar is called; no bar if None.
    """

    num_rounds: int
    batch_size: int
    transform: Transform | None = None
    average_decay: float | None = None
    rounds_per_call: int = 100
    validation: Validation | None = None
    directory: str | Path | None = None
    checkpoint_every: int | None = None
    resume: bool = False
    label: str | None = "training"

    def __post_init__(self):
        for name in ("num_rounds", "batch_size", "rounds_per_call"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.average_decay is not None and not 0 <= self.average_decay < 1:
            raise ValueError(f"average_decay must be in [0, 1), got {self.average_decay}.")
        if self.validation is not None and self.validation.every % self.rounds_per_call:
            raise ValueError(
                f"validation.every, {self.validation.every}, must be a multiple of "
                f"rounds_per_call, {self.rounds_per_call}."
            )
        if self.resume and self.directory is None:
            raise ValueError("resume needs the directory of the run to go on with.")

    def keeps(self, done: int, before: int) -> bool:
        """Whether a checkpoint is due after round `done`, the report before being at `before`."""
        default = self.validation.every if self.validation else max(self.num_rounds // 10, 1)
        every = self.checkpoint_every or default
        return done == self.num_rounds or done // every > before // every


class _Best:
    """The best validated model so far."""

    def __init__(self, model: Any = None, score: float = -math.inf, round: int = 0):
        self.model, self.score, self.round = model, score, round

    def offer(self, model: Any, score: float, round: int) -> None:
        if score > self.score:
            self.model, self.score, self.round = jax.tree.map(jnp.copy, model), score, round


def fit(
    key: Key[Array, ""], model: Any, players: Sequence[Player], data: PyTree, plan: Plan
) -> Fit:
    """Train a model, or several that play against each other.

    Under `jax.set_mesh(genmix.sharding.make_mesh(...))` batches and particles are laid out along
    its axes; the numbers stay the same, to rounding.

    Args:
        model: a part, or a module that holds those of all players.
        data: arrays with the examples along the first axis; they go to the device as a whole.

    Raises:
        FloatingPointError: if a loss is not finite; it names the player and the round, and the
            checkpoints before it are untouched.
        ValueError: if the arguments make no sense together; it says how.
    """
    state = rounds.start(key, model, players, keep_average=plan.average_decay is not None)
    state = sharding.replicated(state)
    data = sharding.replicated(jax.tree.map(jnp.asarray, data))
    with contextlib.ExitStack() as stack:
        log = checkpoints = None
        best, done, history = _Best(), 0, {}
        if plan.directory is not None:
            checkpoints = stack.enter_context(Checkpoints(Path(plan.directory) / "checkpoints"))
            state, best, done, history = _resumed(plan, checkpoints, state)
            log = stack.enter_context(
                RunLog(plan.directory, resume_step=done if plan.resume else None)
            )
        run = _Run(players, plan, state, data, log, checkpoints, best, history)
        if plan.label is not None:
            run.bar = stack.enter_context(Progress(plan.label, total=plan.num_rounds, done=done))
        while done < plan.num_rounds and not run.is_exhausted(done):
            done = run.play(done)
    return run.result()


def _resumed(
    plan: Plan, checkpoints: Checkpoints, state: GameState
) -> tuple[GameState, _Best, int, History]:
    """Where the run in the plan's directory had come to."""
    if not plan.resume or checkpoints.latest_step() is None:
        return state, _Best(), 0, {}
    best = _Best()
    if checkpoints.best_step() is not None:
        step, best_state = checkpoints.restore_best(state)
        best = _Best(_judged(best_state, plan), checkpoints.score(step), step)
    done, state = checkpoints.restore(state)
    past = read_metrics(Path(plan.directory or "") / "metrics.jsonl")
    history = {
        name: (steps[steps <= done], values[steps <= done])
        for name, (steps, values) in past.items()
        if name != "time"
    }
    return state, best, done, history


def _judged(state: GameState, plan: Plan) -> Any:
    return state.model if plan.average_decay is None else rounds.averaged_model(state)


class _Run:
    """One training run between two reports."""

    def __init__(
        self,
        players: Sequence[Player],
        plan: Plan,
        state: GameState,
        data: PyTree,
        log: RunLog | None,
        checkpoints: Checkpoints | None,
        best: _Best,
        history: History,
    ):
        self.players, self.plan, self.state, self.data = players, plan, state, data
        self.log, self.checkpoints, self.best = log, checkpoints, best
        self.bar: Progress | None = None
        self.history = {name: (list(s), list(v)) for name, (s, v) in history.items()}
        seconds = self.history.get("seconds", ([], [0.0]))[1]
        self.seconds = float(seconds[-1])
        self._compiled: dict[int, jax.stages.Compiled] = {}

    def is_exhausted(self, done: int) -> bool:
        """Whether validation has not improved for as long as patience allows."""
        validation = self.plan.validation
        if validation is None or validation.patience is None:
            return False
        return done - self.best.round >= validation.patience * validation.every

    def play(self, done: int) -> int:
        """Play rounds up to the next report; return how many are done then."""
        plan = self.plan
        num_rounds = min(plan.rounds_per_call, plan.num_rounds - done)
        step = self._program(num_rounds)
        start = time.perf_counter()
        self.state, metrics = step(self.state, self.data)
        metrics = jax.device_get(metrics)
        self.seconds += time.perf_counter() - start
        _require_finite(metrics, done)
        before, done = done, done + num_rounds
        means = {name: float(np.mean(values)) for name, values in metrics.items()}
        means["seconds"] = self.seconds
        score = self._validate(done, means)
        self._report(done, means)
        if self.checkpoints is not None and plan.keeps(done, before):
            self.checkpoints.save(done, self.state, score=score)
        return done

    def _program(self, num_rounds: int) -> jax.stages.Compiled:
        if num_rounds not in self._compiled:
            jitted = rounds.compile_rounds(
                self.players,
                batch_size=self.plan.batch_size,
                num_rounds=num_rounds,
                transform=self.plan.transform,
                average_decay=self.plan.average_decay,
            )
            self._compiled[num_rounds] = jitted.lower(self.state, self.data).compile()
        return self._compiled[num_rounds]

    def _validate(self, done: int, means: dict[str, float]) -> float | None:
        validation = self.plan.validation
        if validation is None or done % validation.every:
            return None
        model = _judged(self.state, self.plan)
        score = means["validation"] = float(validation.score(model))
        self.best.offer(model, score, done)
        return score

    def _report(self, done: int, means: dict[str, float]) -> None:
        for name, value in means.items():
            steps, values = self.history.setdefault(name, ([], []))
            steps.append(done)
            values.append(value)
        if self.log is not None:
            self.log.write(done, means)
        if self.bar is not None:
            hidden = ("seconds", "loss")
            shown = {n: v for n, v in means.items() if n.split("/")[-1] not in hidden}
            self.bar.update(done, shown or means)

    def result(self) -> Fit:
        model = _judged(self.state, self.plan) if self.best.model is None else self.best.model
        history = {n: (np.array(s), np.array(v)) for n, (s, v) in self.history.items()}
        return Fit(model, self.state, history, self.seconds)


def _require_finite(metrics: dict[str, np.ndarray], done: int) -> None:
    for name, values in metrics.items():
        if name.split("/")[-1] == "loss" and not np.all(np.isfinite(values)):
            first = int(np.argmax(~np.isfinite(values)))
            player = name.split("/")[0] if "/" in name else "the player"
            raise FloatingPointError(
                f"the loss of {player} is {values[first]} at round {done + first + 1}; training "
                "stops here, and the checkpoints before it are kept. Lower the learning rate or "
                "clip the gradient (optax.clip_by_global_norm)."
            )
