"""What a record of a distribution says: how many numbers it needs, and what they mean.

A record stands beside the pure functions of its file, as `normal.Normal()` does beside
`normal.log_prob`. Whatever gives numbers can then have its density: a network in a part, the
network of an autoregressive model, the units of a Boltzmann machine, the components of a mixture.

Of one event, whose entries are independent of each other, `numbers` are [*entries, num_parameters]
and x is [*entries, *entry_shape].
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Shaped

Event = Shaped[Array, "..."]
Numbers = Float[Array, "*entries parameters"]


@runtime_checkable
class Distribution(Protocol):
    """A distribution of entries of one shape, each given by num_parameters numbers."""

    @property
    def entry_shape(self) -> tuple[int, ...]:
        """() if an entry is a number, (n,) if it is a vector."""
        ...

    @property
    def num_parameters(self) -> int:
        """Numbers for each entry, any real ones: a scale comes out of them positive."""
        ...

    def parameters(self, numbers: Numbers) -> tuple[Array, ...]:
        """What the pure functions of the file take, as a named tuple."""
        ...

    def log_prob(self, x: Event, numbers: Numbers) -> Float[Array, ""]:
        """Log-density of the event, the sum over its entries, in nats."""
        ...

    def sample(self, key: Key[Array, ""], numbers: Numbers) -> Event: ...


@runtime_checkable
class Reparameterized(Distribution, Protocol):
    """Draws are differentiable in the numbers."""

    def sample_and_log_prob(
        self, key: Key[Array, ""], numbers: Numbers
    ) -> tuple[Event, Float[Array, ""]]: ...


@runtime_checkable
class Mean(Distribution, Protocol):
    """Knows the mean of every entry."""

    def mean(self, numbers: Numbers) -> Event: ...


@runtime_checkable
class ReparameterizedMean(Reparameterized, Mean, Protocol):
    """Both of these."""


@runtime_checkable
class Enters(Distribution, Protocol):
    """Says by which numbers an entry enters a network that sees it.

    So a network can give the numbers of one entry from the entries before it.
    """

    @property
    def num_features(self) -> int: ...

    def features(self, x: Event) -> Float[Array, "*entries features"]: ...


@runtime_checkable
class ClosedKL(Distribution, Protocol):
    """Knows KL(p || q) of two of its kind, given as `parameters` has them; of every entry."""

    def kl(self, p: Any, q: Any) -> Float[Array, "*entries"]: ...


def check_positive(**values: float | int | None) -> None:
    """Refuse a static number that is not positive and finite; None is no number.

    Raises:
        ValueError: naming it.
    """
    for name, value in values.items():
        if value is not None and not 0 < value < math.inf:
            rule = "finite" if value == math.inf else "positive"
            raise ValueError(f"{name} must be {rule}, got {value}.")


def positive_parameters(
    numbers: Numbers, given: Sequence[float | None], smallest: float
) -> list[Float[Array, "*entries"]]:
    """Each given number for all entries; for a None, smallest + softplus of the next of numbers."""
    raw = iter(jnp.moveaxis(numbers, -1, 0))
    like = numbers.shape[:-1]
    return [
        smallest + jax.nn.softplus(next(raw))
        if value is None
        else jnp.full(like, value, numbers.dtype)
        for value in given
    ]


def sum_entries(log_prob: Callable[..., Array], x: Event, numbers: Numbers) -> Float[Array, ""]:
    """Sum of log_prob(entry, its numbers) over the entries."""
    *entries, size = numbers.shape
    flat = x.reshape(math.prod(entries), *x.shape[len(entries) :])
    return jnp.sum(jax.vmap(log_prob)(flat, numbers.reshape(math.prod(entries), size)))


def sample_entries(sample: Callable[..., Array], key: Key[Array, ""], numbers: Numbers) -> Event:
    """sample(key, numbers) of every entry."""
    *entries, size = numbers.shape
    if not entries:
        return sample(key, numbers)
    keys = jax.random.split(key, math.prod(entries))
    x = jax.vmap(sample)(keys, numbers.reshape(math.prod(entries), size))
    return x.reshape(*entries, *x.shape[1:])
