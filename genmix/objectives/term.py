"""Terms of an objective, which add and scale."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from genmix.examples import count
from genmix.paths import Part, find

Metrics = Mapping[str, Float[Array, ""]]


@runtime_checkable
class Loss(Protocol):
    """A pure function that a player minimises, in nats, averaged over the batch.

    What the networks changed about themselves (normalization statistics) it stores in `model`,
    which is a copy.
    """

    def __call__(
        self, model: Any, key: Key[Array, ""], batch: PyTree, carry: PyTree, /
    ) -> tuple[Float[Array, ""], tuple[Metrics, PyTree]]: ...


def _no_carry(model: Any) -> PyTree:
    del model
    return ()


@dataclasses.dataclass(frozen=True)
class Term:
    """A loss that can be added to others and multiplied by a number.

    A term is minimised: `objectives.elbo()` contributes minus the ELBO, and reports the ELBO itself
    among its metrics. So `elbo() + 10.0 * penalty` reads as the literature writes it, with the sign
    of the bound turned once.

    Attributes:
        loss: the function to minimise.
        init: model -> the carry that `loss` starts from (running means, chains, step counts); it
            refuses a model that the term cannot be about.
        narrowed: what `of` gives, for a term that is about several parts of a game.
    """

    loss: Loss
    init: Callable[[Any], PyTree] = _no_carry
    narrowed: Callable[[Part], "Term"] | None = None

    def __call__(
        self, model: Any, key: Key[Array, ""], batch: PyTree, carry: PyTree
    ) -> tuple[Float[Array, ""], tuple[Metrics, PyTree]]:
        return self.loss(model, key, batch, carry)

    def __add__(self, other: "Term") -> "Term":
        if not isinstance(other, Term):
            return NotImplemented

        def loss(model, key, batch, carry):
            keys = jax.random.split(key)
            first, (metrics, first_carry) = self(model, keys[0], batch, carry[0])
            second, (more, second_carry) = other(model, keys[1], batch, carry[1])
            if twice := sorted(metrics.keys() & more.keys()):
                raise ValueError(
                    f"two terms of one objective both report {', '.join(twice)}: give one of them "
                    "another name."
                )
            return first + second, ({**metrics, **more}, (first_carry, second_carry))

        return Term(
            loss,
            lambda model: (self.init(model), other.init(model)),
            lambda part: self.of(part) + other.of(part),
        )

    def __mul__(self, weight: float) -> "Term":
        if not isinstance(weight, (int, float, jax.Array)):
            return NotImplemented

        def loss(model, key, batch, carry):
            value, rest = self(model, key, batch, carry)
            return weight * value, rest

        return Term(loss, self.init, lambda part: weight * self.of(part))

    __rmul__ = __mul__

    def of(self, part: Part) -> "Term":
        """The same term about a part of the model, such as `.of("generator")` of a game.

        Where a term looks at a second part (`by="critic"`), that one is still looked for in the
        whole game. In a sum each term is about the part.

        Raises:
            ValueError: at the start of training, if there is no part of that name.
        """
        if self.narrowed is not None:
            return self.narrowed(part)
        return Term(
            lambda model, *rest: self.loss(find(model, part), *rest),
            lambda model: self.init(find(model, part)),
        )

    def over(self, examples: PyTree, batch_size: int, *, prefix: str) -> "Term":
        """The same term on batches of other examples, drawn for each step with replacement.

        Such as the few examples that have labels, beside the batches of all.

        Args:
            examples: along the first axis of each array.
            prefix: of the names of its metrics.

        Raises:
            ValueError: if there are no examples, their arrays differ in length, or batch_size < 1.
        """
        number, examples = count(examples), jax.tree.map(jnp.asarray, examples)
        if number < 1 or batch_size < 1:
            raise ValueError(
                f"a term needs examples and a batch_size of at least 1, got {number} examples and "
                f"batch_size {batch_size}."
            )

        def loss(model, key, batch, carry):
            del batch
            choice_key, key = jax.random.split(key)
            chosen = jax.random.randint(choice_key, (batch_size,), 0, number)
            other = jax.tree.map(lambda a: a[chosen], examples)
            value, (metrics, carry) = self(model, key, other, carry)
            named = {f"{prefix}{name}": metric for name, metric in metrics.items()}
            return value, (named, carry)

        of = lambda part: self.of(part).over(examples, batch_size, prefix=prefix)
        return Term(loss, self.init, of)

    def on(self, select: Callable[[PyTree], PyTree]) -> "Term":
        """The same term on a part of each batch, such as the images of pairs with labels."""
        return Term(
            lambda model, key, batch, carry: self(model, key, select(batch), carry),
            self.init,
            lambda part: self.of(part).on(select),
        )

    def named(self, name: str) -> "Term":
        """The same term, whose metrics have a name in front: twice in one sum they would collide.

        `generator(translated, ...).named("to_b")` reports to_b_translated_gradient_norm.
        """

        def loss(model, key, batch, carry):
            value, (metrics, carry) = self(model, key, batch, carry)
            return value, ({f"{name}_{metric}": v for metric, v in metrics.items()}, carry)

        return Term(loss, self.init, lambda part: self.of(part).named(name))


def between(
    loss: Callable[..., tuple[Float[Array, ""], tuple[Metrics, PyTree]]],
    init: Callable[[Any, Any], PyTree],
    by: Part,
    of: Part = lambda game: game,
) -> Term:
    """A term between two parts of a game: the one that `Term.of` names, and another.

    Args:
        loss: (part, other, key, batch, carry), otherwise as a `Loss`.
        init: (part, other) -> carry.
        by: the other part.
        of: the part; all of the game until it is named.
    """
    parts = lambda game: (find(game, of), find(game, by))
    return Term(
        lambda game, *rest: loss(*parts(game), *rest),
        lambda game: init(*parts(game)),
        lambda outer: between(loss, init, by, lambda game: find(find(game, outer), of)),
    )
