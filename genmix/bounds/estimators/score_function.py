"""Gradients by the score function (REINFORCE), for posteriors that cannot be reparameterized."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from genmix.bounds.baselines import Baseline, Predict
from genmix.bounds.bound import Bound
from genmix.bounds.estimator import Estimator
from genmix.bounds.log_weight import Estimate, Weigh, particles, with_gradient_of
from genmix.capabilities import constant_draw, require_log_prob

LogWeights = Float[Array, " k"]


def draw(posterior: Any, key: Key[Array, ""], cond: PyTree) -> tuple[PyTree, Float[Array, ""]]:
    """A constant z, and log q(z | cond) with gradients for the posterior's parameters.

    Raises:
        TypeError: if the posterior has no `log_prob`.
    """
    require_log_prob(posterior)
    return constant_draw(posterior, key, cond)


def learning_signals(
    bound: Bound,
    log_weights: LogWeights,
    predictions: LogWeights,
) -> LogWeights:
    """How much each particle raises the bound over what was predicted for it, in nats.

    Particle i's signal is the bound less the bound with log w_i replaced by its prediction, which
    must not depend on particle i.
    """
    replaced = jnp.where(jnp.eye(log_weights.shape[0], dtype=bool), predictions[:, None],
                         log_weights[None, :])  # row i has log w_i replaced  # fmt: skip
    return bound(log_weights) - jax.vmap(bound)(replaced)


def estimate(
    key: Key[Array, ""],
    weigh: Weigh,
    bound: Bound,
    *,
    num_particles: int,
    baseline: Predict,
) -> Estimate:
    """Bound of k particles with score-function gradients for the posterior.

    Args:
        baseline: log-weights [k] -> predictions [k], particle i's from anything but particle i.
            Where it has parameters, the gradient also fits them to the log-weights by least
            squares. `genmix.bounds.baselines` has the usual ones.

    Source: Mnih & Gregor (2014), arXiv:1402.0030; Mnih & Rezende (2016), arXiv:1602.06725.
    """
    terms = particles(key, weigh, draw, num_particles)
    log_weights = jax.lax.stop_gradient(terms.log_weight)
    predictions = baseline(log_weights)
    signals = learning_signals(bound, log_weights, jax.lax.stop_gradient(predictions))
    score = jnp.vdot(signals, jnp.sum(terms.log_posterior, axis=-1))
    fit = -0.5 * jnp.sum((log_weights - predictions) ** 2)
    value = bound(terms.log_weight)
    return Estimate(with_gradient_of(value, score + fit), jax.lax.stop_gradient(terms))


def estimator(baseline: Baseline) -> Estimator:
    """The estimator with a baseline of `genmix.bounds.baselines`.

    Unbiased for every bound. Leave-one-out with the importance-weighted bound is VIMCO.
    """
    return Estimator(
        "the score function", estimate, min_particles=baseline.min_particles, baseline=baseline
    )
