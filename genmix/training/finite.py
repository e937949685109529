"""Where training first met NaN or an infinity, and which operation made it."""

import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify
from jaxtyping import Array, Bool, PyTree

from genmix.training.player import Player

_OFF_SUPPORT = {
    "log_likelihood": "an x is off the likelihood's support, or at its edge: bits are of "
    "Bernoulli, whole levels of DiscretizedLogistic and Categorical, real numbers of Normal. Take "
    "another likelihood, or make x fit by the plan's transform, data.binarize for instance",
    "rate": "a z that the posterior draws is off the prior's support: choose parts of one support",
}
_KINDS = ("loss", "gradient", "parameters")  # in the order in which a step computes them
_SHOWN = 3  # names in a message
_FRAMES = 3  # lines of source
_JAX = str(Path(jax.__file__).parent)  # whose own lines say little


class Fault(NamedTuple):
    """The first step of a player in which something was not finite."""

    round: int  # the first round that was looked at is 0
    player: Player
    step: int  # of the player's in that round
    kind: str  # loss, gradient or parameters
    names: list[str]  # parameters; or metrics, that were not finite as the loss was not


@jax.jit
def _are_finite(leaves: list[Array]) -> Bool[Array, " leaves"]:
    is_float = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.inexact)  # keys cannot be asked
    return jnp.stack([jnp.all(jnp.isfinite(a)) if is_float(a) else jnp.array(True) for a in leaves])


def not_finite(tree: PyTree) -> list[str]:
    """Paths of the arrays in a tree that hold NaN or an infinity."""
    flags = np.asarray(_are_finite(jax.tree.leaves(tree)))
    if np.all(flags):
        return []
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
    return [jax.tree_util.keystr(paths[i], simple=True, separator=".") for i in np.where(~flags)[0]]


def first_fault(finite: Mapping[str, PyTree], players: Sequence[Player]) -> Fault | None:
    """The first fault among the flags that `compile_rounds` reports, if there is one.

    A metric that is not finite is no fault, but tells something of a loss that is not either.
    """
    faults: dict[tuple[int, ...], list[str]] = {}  # by round, player, step and kind
    for order, player in enumerate(players):
        flags = finite[player.name]
        for kind, name, flag in [
            (0, "", flags["loss"]),
            *((1, path, flag) for path, flag in flags["gradient"].items()),
            *((2, path, flag) for path, flag in flags["parameters"].items()),
        ]:
            for round, step in np.argwhere(~np.asarray(flag))[:1].tolist():
                faults.setdefault((round, order, step, kind), []).append(name)
    if not faults:
        return None
    round, order, step, kind = first = min(faults)
    player, names = players[order], faults[first]
    if _KINDS[kind] == "loss":
        metrics = finite[player.name]["metrics"]
        names = [name for name, flag in metrics.items() if not np.asarray(flag)[round, step]]
    return Fault(round, player, step, _KINDS[kind], names)


class Replay:
    """Rounds that ended in numbers that are not finite, played again to see where these began.

    To look at every gradient while training would slow small models by a tenth. The same program is
    run with reports added, so a difference of rounding may hide the fault from it.
    """

    def __init__(
        self,
        compile_rounds: Callable[..., Callable],
        players: Sequence[Player],
        state: PyTree,
        data: PyTree,
        before: int,
    ):
        """Take up a game after `before` rounds; compile_rounds wants only num_rounds yet."""
        self._compile, self._players, self._before = compile_rounds, players, before
        self._state, self._data = state, data
        self._fault: Fault | None = None

    def explanation(self, metrics: Mapping[str, np.ndarray], leaves: Sequence[str]) -> str:
        """What was not finite first.

        Args:
            metrics: of each round, as they came when it was played first.
            leaves: paths in the state after the last round that are not finite.
        """
        num_rounds = len(next(iter(metrics.values())))
        rounds = self._compile(num_rounds=num_rounds, report_finite=True)
        _, _, flags = rounds(self._state, self._data)
        self._fault = first_fault(flags, self._players)
        if self._fault is not None:
            return _described(self._fault, metrics, self._before)
        names = _listed(leaves) or "a loss"
        return f"{names} is not finite by round {self._before + num_rounds}"

    def remedy(self, metrics: Mapping[str, np.ndarray]) -> str:
        """What to change: the data, where no step was taken before a term of the loss was infinite.

        Args:
            metrics: as for `explanation`, which looks for the fault.
        """
        fault = self._fault
        if fault is None or fault.kind != "loss" or self._before + fault.round + fault.step:
            return "Lower the learning rate or clip the gradient (optax.clip_by_global_norm)"
        if broken := not_finite(self._data):
            where = f" at {_listed(broken)}" if any(broken) else ""
            return f"Nothing has been learned yet: the data hold NaN or infinities{where}"
        terms = {n: metrics.get(n, metrics.get(f"{fault.player.name}/{n}")) for n in _OFF_SUPPORT}
        for name, values in terms.items():
            if name in fault.names and values is not None and np.isinf(values[fault.round]):
                return (
                    f"Nothing has been learned yet: {name} is {float(values[fault.round])}, as "
                    f"{_OFF_SUPPORT[name]}. {_ranges(self._data)}"
                )
        return "Nothing has been learned yet, so look at the data and at how the model begins"

    def operation(self) -> str:
        """The first operation of that round that gives NaN or divides by zero, and its source."""
        if self._fault is None:
            return "not found, as no loss, gradient or parameter is at fault"
        state, data = self._state, self._data
        if self._fault.round:
            state, _ = self._compile(num_rounds=self._fault.round)(state, data)
        one_round = checkify.checkify(self._compile(num_rounds=1), errors=checkify.float_checks)
        error, _ = jax.jit(one_round)(state, data)
        try:
            error.throw()
        except checkify.JaxRuntimeError as raised:
            cause = raised.__cause__
            frames = traceback.extract_tb(cause.__traceback__ if cause else None)
            own = [f for f in reversed(frames) if not f.filename.startswith(_JAX)][:_FRAMES]
            lines = [f"{f.filename}:{f.lineno} in {f.name}: {f.line}" for f in own]
            return "\n  ".join([str(raised), *lines])
        return "none gives NaN or divides by zero, so a number grows beyond the largest"


def _described(fault: Fault, metrics: Mapping[str, np.ndarray], before: int) -> str:
    player, names = fault.player, _listed(fault.names)
    where = f"player {player.name!r} at round {before + fault.round + 1}"
    if player.steps > 1:
        where += f", step {fault.step + 1} of {player.steps}"
    if fault.kind == "gradient":
        return f"the gradient of {where} is not finite for {names}, though the loss is"
    if fault.kind == "parameters":
        return f"the update of {where} makes {names} not finite, though the gradient is"
    losses = metrics.get("loss", metrics.get(f"{player.name}/loss"))
    last = math.nan if losses is None else float(losses[fault.round])
    value = "not finite" if math.isfinite(last) else last  # it may have been an earlier step's
    verb = "is" if len(fault.names) == 1 else "are"
    return f"the loss of {where} is {value}" + (f", and so {verb} its {names}" if names else "")


def _ranges(data: PyTree) -> str:
    """Smallest and largest numbers of the data, before a transform."""
    said = [
        f"data{jax.tree_util.keystr(path)} has {leaf.dtype} from {jnp.min(leaf)} to {jnp.max(leaf)}"
        for path, leaf in jax.tree.leaves_with_path(data)
        if jnp.issubdtype(leaf.dtype, jnp.number) and leaf.size
    ]
    return _listed(said)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
