"""Terms of an objective, which add and scale."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import jax
from jaxtyping import Array, Float, Key, PyTree

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
        init: model -> the carry that `loss` starts from (running means, chains, step counts).
    """

    loss: Loss
    init: Callable[[Any], PyTree] = _no_carry

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

        return Term(loss, lambda model: (self.init(model), other.init(model)))

    def __mul__(self, weight: float) -> "Term":
        if not isinstance(weight, (int, float, jax.Array)):
            return NotImplemented

        def loss(model, key, batch, carry):
            value, rest = self(model, key, batch, carry)
            return weight * value, rest

        return Term(loss, self.init)

    __rmul__ = __mul__

    def on(self, select: Callable[[PyTree], PyTree]) -> "Term":
        """The same term on a part of each batch, such as the images of pairs with labels."""

        def loss(model, key, batch, carry):
            return self(model, key, select(batch), carry)

        return Term(loss, self.init)
