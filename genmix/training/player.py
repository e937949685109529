"""A player: a subset of the parameters, a loss, an optimizer, and how often it moves."""

import dataclasses
import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import optax
from flax import nnx
from jaxtyping import Array, PyTree

from genmix.nets import state
from genmix.objectives.term import Term
from genmix.training.game import Game

if TYPE_CHECKING:
    from genmix.objectives.term import Loss

    Optimizer = optax.GradientTransformation | optax.GradientTransformationExtraArgs
else:  # refused in words of its own, which a type check of arguments would preempt
    Optimizer = Loss = Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Player:
    """One player of a training game.

    Attributes:
        loss: what it minimises, a `Term` or any function of that form.
        optimizer: an Optax transformation; chain clipping and schedules there. One that asks for
            the loss, as `optax.contrib.reduce_on_plateau` and `optax.lbfgs` do, is given it.
        owns: dotted paths of the sub-modules whose parameters (`nnx.Param`) it moves, such as
            ("generator",). By default the part of its own name in a `Game`, and all of any other
            model. Two players may own the same parameters.
        steps: moves per round, each on a batch of its own.
        name: what its metrics are prefixed with where there are several players.
        examples_at_once: take the gradient of so many examples of a batch at a time, one part after
            the other, and average. It needs less memory, and where the parts fit into the cache
            less time. For losses that are means over independent examples, no batch statistics.
    """

    loss: Loss
    optimizer: Optimizer
    owns: Sequence[str] | None = None
    steps: int = 1
    name: str = "model"
    examples_at_once: int | None = None

    def __post_init__(self):
        _require_loss(self.loss)
        _require_optimizer(self.optimizer)
        if self.steps < 1:
            raise ValueError(f"player {self.name!r} must take at least 1 step, got {self.steps}.")
        if self.examples_at_once is not None and self.examples_at_once < 1:
            raise ValueError(
                f"examples_at_once of player {self.name!r} must be at least 1, got "
                f"{self.examples_at_once}."
            )
        if isinstance(self.owns, str):
            raise TypeError(f"owns must be a sequence of paths, got the string {self.owns!r}.")

    def owns_path(self, path: str, model: Any) -> bool:
        """Whether the variable at a dotted path of the model is this player's."""
        prefixes = self._prefixes(model)
        return prefixes is None or any(_is_within(path, prefix) for prefix in prefixes)

    def parameters(self, model: Any) -> dict[str, Array]:
        """The parameters that the player moves, by dotted path.

        Raises:
            ValueError: if one of its paths leads to no parameter.
        """
        everything = state.variables(model, nnx.Param)
        for prefix in self._prefixes(model) or ():
            if not any(_is_within(path, prefix) for path in everything):
                heads = sorted({path.split(".")[0] for path in everything})
                raise ValueError(
                    f"player {self.name!r} owns {prefix!r}, where the model has no parameters; it "
                    f"has some under {', '.join(heads) or 'no path at all'}."
                )
        owned = {path: value for path, value in everything.items() if self.owns_path(path, model)}
        if not owned:
            raise ValueError(f"player {self.name!r} owns no parameters: the model has none.")
        return owned

    def initial_carry(self, model: Any) -> PyTree:
        """What the loss keeps between steps, at the start."""
        return self.loss.init(model) if isinstance(self.loss, Term) else ()

    def _prefixes(self, model: Any) -> Sequence[str] | None:
        if self.owns is None and isinstance(model, Game):
            return (self.name,)
        return self.owns


def _require_loss(loss: object) -> None:
    if isinstance(loss, Term):
        return
    if not callable(loss):
        raise TypeError(
            f"loss must be a Term or a function (model, key, batch, carry), got {loss!r}: use a "
            "term of genmix.objectives, such as objectives.elbo()."
        )
    try:
        inspect.signature(loss).bind(None, None, None, None)
    except TypeError as error:
        name = getattr(loss, "__name__", type(loss).__name__)
        raise TypeError(
            f"loss must be a Term or a function (model, key, batch, carry), got the function "
            f"{name}, which does not take these: call it first, such as {name}()."
        ) from error


def _require_optimizer(optimizer: object) -> None:
    if hasattr(optimizer, "init") and hasattr(optimizer, "update"):
        return
    if isinstance(optimizer, (int, float)):
        remedy = f"pass optax.adam({optimizer:g})"
    elif callable(optimizer):
        name = getattr(optimizer, "__name__", "it")
        remedy = f"call it first, such as {name}(1e-3)"
    else:
        remedy = "pass one, such as optax.adam(1e-3)"
    raise TypeError(f"optimizer must be an Optax transformation, got {optimizer!r}: {remedy}.")


def _is_within(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix + ".")
