"""Predictions of log-weights that a score-function estimator subtracts, with their state."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from genmix.paths import Part, find

LogWeights = Float[Array, " k"]
Predict = Callable[[LogWeights], LogWeights]


class Baseline(NamedTuple):
    """Predicts log-weights, so that only the surprise carries gradient.

    Attributes:
        init: () -> carry.
        predict: (game, x, carry) -> a function from log-weights [k] to predictions [k], none of
            which may depend on its own particle.
        update: (carry, log-weights [batch, k]) -> carry.
        min_particles: the fewest that it works with.
    """

    init: Callable[[], PyTree]
    predict: Callable[[PyTree, PyTree, PyTree], Predict]
    update: Callable[[PyTree, Float[Array, "batch k"]], PyTree]
    min_particles: int = 1


def _stateless(predict: Callable[[PyTree, PyTree], Predict], min_particles: int = 1) -> Baseline:
    return Baseline(
        init=lambda: (),
        predict=lambda game, x, carry: predict(game, x),
        update=lambda carry, log_weights: carry,
        min_particles=min_particles,
    )


none = _stateless(lambda game, x: jnp.zeros_like)
"""Predict zero: the plain score function."""


def mean_of_others(log_weights: LogWeights) -> LogWeights:
    """For each log-weight the mean of the others.

    Raises:
        ValueError: if there is one particle only.
    """
    k = log_weights.shape[0]
    if k < 2:
        raise ValueError("leave_one_out needs at least 2 particles, got 1: raise num_particles.")
    return (jnp.sum(log_weights) - log_weights) / (k - 1)


leave_one_out = _stateless(lambda game, x: mean_of_others, min_particles=2)
"""Predict each particle's log-weight by the mean of the others; needs k >= 2.

Source: Mnih & Rezende (2016), arXiv:1602.06725, equation 10.
"""


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

    def predict(game: PyTree, x: PyTree, carry: RunningMean) -> Predict:
        del game, x
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

    def predict(game: PyTree, x: PyTree) -> Predict:
        value = jnp.reshape(find(game, by)(x), ())
        return lambda log_weights: jnp.broadcast_to(value, log_weights.shape)

    return _stateless(predict)
