"""Baselines of the score-function estimator, with the state that they keep between steps."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from genmix.bounds import baselines
from genmix.objectives.term import Part, find

Predict = Callable[[Float[Array, " k"]], Float[Array, " k"]]


class Baseline(NamedTuple):
    """Predicts log-weights, so that only the surprise carries gradient.

    Attributes:
        init: () -> carry.
        predict: (game, x, carry) -> a function from log-weights [k] to predictions [k], none of
            which may depend on its own particle.
        update: (carry, log-weights [batch, k]) -> carry.
    """

    init: Callable[[], PyTree]
    predict: Callable[[Any, PyTree, PyTree], Predict]
    update: Callable[[PyTree, Float[Array, "batch k"]], PyTree]


def _stateless(predict: Callable[[Any, PyTree], Predict]) -> Baseline:
    return Baseline(
        init=lambda: (),
        predict=lambda model, x, carry: predict(model, x),
        update=lambda carry, log_weights: carry,
    )


def none() -> Baseline:
    """Predict zero."""
    return _stateless(lambda model, x: baselines.none)


def leave_one_out() -> Baseline:
    """Predict each particle's log-weight by the mean of the others; needs k >= 2."""
    return _stateless(lambda model, x: baselines.leave_one_out)


class RunningMean(NamedTuple):
    """Exponentially weighted sum of log-weights, and of the weights given to them."""

    total: Float[Array, ""]
    weight: Float[Array, ""]


def running_mean(decay: float = 0.99) -> Baseline:
    """Predict the mean log-weight of past batches, weighted down by `decay` a step.

    Raises:
        ValueError: if decay is not in [0, 1).
    """
    if not 0 <= decay < 1:
        raise ValueError(f"decay must be in [0, 1), got {decay}.")

    def predict(model: Any, x: PyTree, carry: RunningMean) -> Predict:
        del model, x
        mean = jnp.where(carry.weight > 0, carry.total / jnp.maximum(carry.weight, 1e-30), 0.0)
        return lambda log_weights: jnp.full_like(log_weights, mean)

    def update(carry: RunningMean, log_weights: Float[Array, "batch k"]) -> RunningMean:
        return RunningMean(
            decay * carry.total + (1 - decay) * jnp.mean(log_weights),
            decay * carry.weight + (1 - decay),
        )

    return Baseline(lambda: RunningMean(jnp.zeros(()), jnp.zeros(())), predict, update)


def input_dependent(by: Part) -> Baseline:
    """Predict the log-weight from x with a network, fitted to the log-weights as training goes.

    Args:
        by: the network (x -> scalar, or one entry) in the game. It must be among the parameters of
            the player that minimises the term.

    Source: Mnih & Gregor (2014), arXiv:1402.0030, section 2.3.
    """

    def predict(game: Any, x: PyTree) -> Predict:
        value = jnp.reshape(find(game, by)(x), ())
        return lambda log_weights: jnp.broadcast_to(value, log_weights.shape)

    return _stateless(predict)
