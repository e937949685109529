"""The evidence lower bound of a model on data, and what it is made of."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from genmix import examples
from genmix.evaluation.standard_error import standard_error
from genmix.families import weigh
from genmix.nets import state


class Elbo(NamedTuple):
    """Estimates for each event, in nats: means over draws of z from q(z | x), without bias."""

    log_likelihood: np.ndarray  # [n], of log p(x | z)
    rates: np.ndarray  # [n, layers], of log q(z | x) - log p(z): each layer's KL divergence

    @property
    def elbo(self) -> float:
        """Mean over the events of log p(x | z) + log p(z) - log q(z | x)."""
        return float(np.mean(self.log_likelihood)) - self.rate

    @property
    def standard_error(self) -> float:
        """Standard error of `elbo`, over events and with the Monte Carlo error that is in them."""
        values = self.log_likelihood - np.sum(self.rates, axis=1)
        return standard_error(values)

    @property
    def rate(self) -> float:
        """Mean over the events of KL(q(z | x) || p(z)), all layers together."""
        return float(np.mean(np.sum(self.rates, axis=1)))


@functools.partial(jax.jit, static_argnames=("num_samples", "events_at_once"))
def _mean_terms(
    key: Key[Array, ""], model: Any, x: PyTree, num_samples: int, events_at_once: int
) -> Float[Array, "n terms"]:
    """The mean log-likelihood, and after it the mean rate of each layer."""

    def one(event: tuple[Key[Array, ""], PyTree]) -> Array:
        key, x = event
        draw = lambda key: weigh.terms(state.fresh(model), key, x)
        terms = jax.vmap(draw)(jax.random.split(key, num_samples))
        both = jnp.concatenate([terms.log_likelihood[:, None], terms.rates], axis=1)
        return jnp.mean(both, axis=0)

    keys = jax.random.split(key, jax.tree.leaves(x)[0].shape[0])
    return jax.lax.map(one, (keys, x), batch_size=events_at_once)


def elbo(
    key: Key[Array, ""],
    model: Any,
    x: PyTree,
    *,
    num_samples: int = 100,
    rows_per_chunk: int = 10_000,
) -> Elbo:
    """Estimate the ELBO of each event, with networks in evaluation mode.

    Args:
        model: any part with a density or a log-weight; an exact density has no rates.
        x: events along the first axis of each array.
        num_samples: draws of z for each event.
        rows_per_chunk: bounds memory: how many pairs of an event and a draw go together.

    Raises:
        ValueError: if num_samples or rows_per_chunk is not positive, there are no events, or the
            arrays of x differ in length.

    Source: Kingma & Welling (2014), arXiv:1312.6114, equation 3.
    """
    num_events = examples.count(x)
    for name, value in (
        ("num_samples", num_samples),
        ("rows_per_chunk", rows_per_chunk),
        ("the number of events", num_events),
    ):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    events_at_once = min(math.ceil(rows_per_chunk / num_samples), num_events)
    x = jax.tree.map(jnp.asarray, x)
    quiet = state.evaluating(model)
    means = jax.device_get(_mean_terms(key, quiet, x, num_samples, events_at_once))
    return Elbo(means[:, 0], means[:, 1:])
