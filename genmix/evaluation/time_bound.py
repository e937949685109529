"""The bound of a diffusion on data, by many times an event."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from genmix import examples
from genmix.families.diffusion.diffusion import antithetic_times
from genmix.nets import state


@functools.partial(jax.jit, static_argnames=("num_times", "events_at_once"))
def _means(
    key: Key[Array, ""], model: Any, x: PyTree, num_times: int, events_at_once: int
) -> Float[Array, " n"]:
    def one(event: tuple[Key[Array, ""], PyTree]) -> Float[Array, ""]:
        key, x = event
        time_key, key = jax.random.split(key)
        times = antithetic_times(time_key, num_times)
        at = lambda key, t: model.log_bound_at(key, t, x)
        return jnp.mean(jax.vmap(at)(jax.random.split(key, num_times), times))

    keys = jax.random.split(key, jax.tree.leaves(x)[0].shape[0])
    return jax.lax.map(one, (keys, x), batch_size=events_at_once)


def time_bound(
    key: Key[Array, ""], model: Any, x: PyTree, *, num_times: int = 20, rows_per_chunk: int = 2000
) -> np.ndarray:
    """Unbiased estimate of a diffusion's bound on log p(x) of each event, in nats.

    Args:
        model: has `log_bound_at`, such as `Diffusion`.
        x: events along the first axis of each array.
        num_times: spread evenly over [0, 1], for each event.
        rows_per_chunk: bounds memory: how many pairs of an event and a time go together.

    Raises:
        ValueError: if num_times or rows_per_chunk is not positive, or there are no events.

    Source: Kingma et al. (2021), arXiv:2107.00630, section 4.3.
    """
    num_events = examples.count(x)
    for name, value in (
        ("num_times", num_times),
        ("rows_per_chunk", rows_per_chunk),
        ("the number of events", num_events),
    ):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    events_at_once = min(max(rows_per_chunk // num_times, 1), num_events)
    x = jax.tree.map(jnp.asarray, x)
    model = state.evaluating(model)
    return np.asarray(_means(key, model, x, num_times, events_at_once))
