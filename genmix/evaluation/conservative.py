"""Likelihood of models that are known by their draws alone, as a mixture of what the draws decode.

A chain or a generator that draws latent states h, and a density p(x | h).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from genmix import examples


def conservative_log_likelihood(
    part: Any, states: PyTree, x: PyTree, *, rows_per_chunk: int = 1_000_000
) -> Float[np.ndarray, " n"]:
    """log of the mean of p(x | h) over drawn states h, for each event x, in nats.

    The log-density of a mixture, so an honest likelihood of that; as an estimate of the log of
    E[p(x | h)] it is too low on average, by less with more states.

    Args:
        part: p(x | h), with log_prob.
        states: along the first axis of each array.
        x: events along the first axis.
        rows_per_chunk: bounds memory: how many pairs of an event and a state go together.

    Raises:
        ValueError: if there are no states, rows_per_chunk < 1, or arrays differ in length.

    Source: Bengio, Yao & Cho (2013), arXiv:1311.6184, algorithm 1.
    """
    num_states = examples.count(states, "states")
    examples.count(x)
    for name, value in (("the number of states", num_states), ("rows_per_chunk", rows_per_chunk)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    events_at_once = max(rows_per_chunk // num_states, 1)
    return np.asarray(_log_means(part, states, jax.tree.map(jnp.asarray, x), events_at_once))


@functools.partial(jax.jit, static_argnames="events_at_once")
def _log_means(part: Any, states: PyTree, x: PyTree, events_at_once: int) -> Float[Array, " n"]:
    def one(x: PyTree) -> Array:
        log_probs = jax.vmap(lambda h: part.log_prob(x, h))(states)
        return jax.nn.logsumexp(log_probs) - jnp.log(log_probs.size)

    return jax.lax.map(one, x, batch_size=events_at_once)
