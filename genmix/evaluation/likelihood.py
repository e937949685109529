"""log p(x) by importance sampling with any number of particles, in bounded memory."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from genmix import examples, sharding
from genmix.bounds.log_weight import map_particles
from genmix.evaluation.standard_error import standard_error
from genmix.families import weigh
from genmix.nets import state
from genmix.runs.progress import Progress

_SHOW_AFTER = 5.0  # seconds


class LogLikelihood(NamedTuple):
    """Estimates of log p(x) for each event, in nats.

    The negative log-likelihood that papers report is `nll`: an upper bound in expectation, tighter
    with more particles, so the number of particles belongs beside it.
    """

    log_px: np.ndarray  # [n]
    monte_carlo_error: np.ndarray  # [n], standard error of each (delta method); NaN at -inf
    num_particles: int

    @property
    def nll(self) -> float:
        """Mean of -log p(x) over the events."""
        return float(-np.mean(self.log_px))

    @property
    def standard_error(self) -> float:
        """Standard error of `nll`, over events and with the Monte Carlo error that is in them."""
        return standard_error(self.log_px)


class _Sums(NamedTuple):
    """log sum w and log sum w^2 so far: all that a stream of log-weights leaves behind."""

    first: Float[Array, " n"]
    second: Float[Array, " n"]


@functools.partial(jax.jit, static_argnames=("num_particles", "particles_per_chunk"))
def _log_sums(
    key: Key[Array, ""],
    event: Int[Array, " n"],
    model: Any,
    x: PyTree,
    num_particles: int,
    particles_per_chunk: int,
) -> _Sums:
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(event)
    num_chunks = math.ceil(num_particles / particles_per_chunk)
    one_particle = lambda key, x: weigh.log_weight(state.fresh(model), key, x)
    one_event = lambda keys, x: map_particles(lambda key: one_particle(key, x), keys)
    every_event = jax.vmap(one_event, spmd_axis_name=sharding.spmd_axis("data"))
    x = sharding.along(x, "data", "events")

    def add_chunk(sums: _Sums, first_particle: Array) -> tuple[_Sums, None]:
        index = first_particle + jnp.arange(particles_per_chunk)
        # A particle's noise depends on its event and its number, not on how they are chunked.
        number = lambda key: jax.vmap(lambda i: jax.random.fold_in(key, i))(index)
        log_weights = every_event(jax.vmap(number)(keys), x)
        # The last chunk may be longer than what is left: its surplus gets weight zero.
        log_weights = jnp.where((index < num_particles)[None, :], log_weights, -jnp.inf)
        first = jax.nn.logsumexp(log_weights, axis=1)
        second = jax.nn.logsumexp(2 * log_weights, axis=1)
        return _Sums(jnp.logaddexp(sums.first, first), jnp.logaddexp(sums.second, second)), None

    nothing = jnp.full(event.shape, -jnp.inf)
    first_particles = jnp.arange(num_chunks) * particles_per_chunk
    sums, _ = jax.lax.scan(add_chunk, _Sums(nothing, nothing), first_particles)
    return sharding.whole(sums)  # so that every host can read them


def _sums_of_all(
    key: Key[Array, ""],
    model: Any,
    x: PyTree,
    num_events: int,
    events_at_once: int,
    num_particles: int,
    particles_per_chunk: int,
) -> tuple[np.ndarray, np.ndarray]:
    firsts, seconds = [], []
    is_first_host = jax.process_index() == 0
    after = _SHOW_AFTER if is_first_host else math.inf
    with Progress("likelihood", total=num_events, unit="events", after=after) as bar:
        for start in range(0, num_events, events_at_once):
            # Every chunk has the same shape, so that one program serves: the last repeats events.
            index = np.minimum(np.arange(start, start + events_at_once), num_events - 1)
            chunk = jax.tree.map(lambda a, index=index: jnp.asarray(a[index]), x)
            sums = _log_sums(
                key, jnp.asarray(index), model, chunk, num_particles, particles_per_chunk
            )
            firsts.append(sums.first)
            seconds.append(sums.second)
            if start:  # the chunk before is done; this one is computed while the next is gathered
                jax.block_until_ready(firsts[-2])
                bar.update(start)
        first, second = jax.device_get((firsts, seconds))
        bar.update(num_events)
    return np.concatenate(first)[:num_events], np.concatenate(second)[:num_events]


def log_likelihood(
    key: Key[Array, ""],
    model: Any,
    x: PyTree,
    *,
    num_particles: int,
    rows_per_chunk: int = 10_000,
) -> LogLikelihood:
    """Estimate log p(x) of each event as the log of the mean of k weights.

    Networks are in evaluation mode. The result does not depend on how events and particles are
    chunked or laid out on devices, up to rounding. Memory is bounded by `rows_per_chunk`, the
    number of (event, particle) pairs that are evaluated together. What takes longer than a few
    seconds shows its progress on stderr.

    Args:
        model: any part with a density or a log-weight.
        x: events along the first axis of each array.
        num_particles: k; for an exact density 1 is enough.

    Raises:
        TypeError: if the model has a bound on its log-density alone.
        ValueError: if num_particles or rows_per_chunk is not positive, there are no events, or the
            arrays of x differ in length.

    Source: Burda, Grosse & Salakhutdinov (2016), arXiv:1509.00519, section 5.1.
    """
    weigh.require_weights(model, "the log-likelihood")
    num_events = examples.count(x)
    for name, value in (
        ("num_particles", num_particles),
        ("rows_per_chunk", rows_per_chunk),
        ("the number of events", num_events),
    ):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    particles = sharding.rounded_up(min(num_particles, 500, rows_per_chunk), "particle")
    events = sharding.rounded_up(min(max(rows_per_chunk // particles, 1), num_events), "data")
    model = state.evaluating(model)
    first, second = _sums_of_all(key, model, x, num_events, events, num_particles, particles)
    # An event that every particle calls impossible has no weights whose spread could be taken.
    possible = np.isfinite(first)
    log_ratio = np.where(possible, second, 0) - 2 * np.where(possible, first, 0)
    spread = np.where(possible, np.exp(log_ratio) - 1 / num_particles, np.nan)
    error = np.sqrt(np.maximum(spread, 0))
    return LogLikelihood(first - math.log(num_particles), error, num_particles)
