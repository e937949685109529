"""Bits back with ANS: compression at the rate of the ELBO.

To add x, z is popped from the message as if q(z | x) had encoded it, which gives bits back; then x
is pushed by p(x | z), and z by p(z). A prior that is a latent-variable model does the same with z.

What is popped has the distribution q(z | x) if the bits on top are uniform. They are where z is
distributed as its prior says; the marginal of q(z | x) is not the prior, so numbers of chance that
both sides know are added to those bits. Then the expected rate is that of the ELBO, exactly.

Source: Townsend, Bird & Barber (2019), arXiv:1901.04866; Kingma, Abbeel & Ho (2019),
arXiv:1905.06845, for several layers.
"""

import functools
import math
import random
import statistics
import struct
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Shaped

from genmix.compression.asymmetric_numeral_system import Message
from genmix.densities import normal
from genmix.families import LatentVariableModel, StandardNormal
from genmix.families.explicit.conditional import ContinuousConditional, DiscreteConditional
from genmix.nets import state

_PRECISION = 28  # bits of every probability
_BUCKETS = 1 << 16  # of each latent, of the same mass under N(0, 1)
_HEADER = struct.Struct("<4sQQ")  # who wrote it, events, words borrowed
_MAGIC = b"gmx1"


def compress(model: Any, x: Shaped[ArrayLike, "n ..."], *, num_levels: int) -> bytes:
    """Events in few bytes: as many as the sum of -ELBO says, and the `overhead`.

    The bits to start with, which the first z is made of, are part of the file; with many events
    they do not count. The networks must give the decoder what they gave the
    encoder, bit for bit: the same machine and versions.

    Args:
        model: a LatentVariableModel of normal posteriors and priors, which may nest, and a
            discrete likelihood of independent entries; or such a density alone.
        x: events of levels 0 to num_levels - 1.

    Raises:
        TypeError: naming a part that has no codec here.
        ValueError: if x holds what is no level, or what the model gives no probability.
    """
    x, codec = np.asarray(x), _Codec(state.evaluating(model), num_levels)
    levels = x.astype(np.int64)
    if x.ndim < 1 or np.any(levels != x) or np.any((levels < 0) | (levels >= num_levels)):
        raise ValueError(
            f"x must hold whole levels from 0 to {num_levels - 1} along a first axis of events."
        )
    message = Message()
    for i, event in enumerate(levels):
        codec.push(message, codec.model, event, None, (i,))
    words = message.words()
    header = _HEADER.pack(_MAGIC, len(x), message.borrowed)
    return header + np.asarray(words, "<u4").tobytes()


def decompress(model: Any, content: bytes, *, num_levels: int) -> Shaped[np.ndarray, "n ..."]:
    """The events that `compress` was given, in their order.

    Raises:
        ValueError: if the content is not of `compress`, or not of this model.
    """
    _, num_events, borrowed = _header(content)
    words = np.frombuffer(content, "<u4", offset=_HEADER.size).tolist()
    message, codec = Message(words), _Codec(state.evaluating(model), num_levels)
    events = [codec.pop(message, codec.model, None, (i,)) for i in reversed(range(num_events))]
    if message.words() != Message().with_borrowed(borrowed).words():
        raise ValueError("content was written with another model, machine or version, or changed.")
    return np.stack(events[::-1]) if events else np.zeros(0, np.int64)


def overhead(content: bytes) -> int:
    """Bits of a compressed file beyond the rate: its header, and what its message started from.

    Raises:
        ValueError: if the content is not of `compress`.
    """
    _, _, borrowed = _header(content)
    return 8 * _HEADER.size + 2 * 32 + 32 * borrowed


def _header(content: bytes) -> tuple[bytes, int, int]:
    size = len(content) - _HEADER.size
    if size < 8 or size % 4 or content[:4] != _MAGIC:
        raise ValueError("content is not what compress has written.")
    return _HEADER.unpack_from(content)


class _Codec:
    """Pushes and pops events of parts; a latent is the index of its bucket."""

    def __init__(self, model: Any, num_levels: int):
        self.model, self._num_levels = model, num_levels
        quantile = statistics.NormalDist().inv_cdf
        inner = [quantile(i / _BUCKETS) for i in range(1, _BUCKETS)]
        self._edges = [-math.inf, *inner, math.inf]
        middles = [quantile((i + 0.5) / _BUCKETS) for i in range(_BUCKETS)]
        self._middles = np.asarray(middles, np.float32)

    def push(
        self, message: Message, part: Any, value: np.ndarray, cond: Any, place: tuple[int, ...]
    ) -> None:
        """Add the event at a place: its number, and one more number for each layer above."""
        if isinstance(part, LatentVariableModel):
            z = _pop(message, self._starts(part.posterior, self._real(part, value)), place)
            _push(message, self._starts(part.likelihood, self._middles[z]), value)
            self.push(message, part.prior, z, cond, (*place, 0))
        else:
            _push(message, self._starts(part, cond), value)

    def pop(self, message: Message, part: Any, cond: Any, place: tuple[int, ...]) -> np.ndarray:
        """Take the event on top, which was added at this place."""
        if not isinstance(part, LatentVariableModel):
            return _pop(message, self._starts(part, cond))
        z = self.pop(message, part.prior, cond, (*place, 0))
        value = _pop(message, self._starts(part.likelihood, self._middles[z]))
        _push(message, self._starts(part.posterior, self._real(part, value)), z, place)
        return value

    def _real(self, model: LatentVariableModel, value: np.ndarray) -> np.ndarray:
        """The event as networks see it."""
        is_latent = _is_normal(model.likelihood)
        return self._middles[value] if is_latent else value.astype(np.float32)

    def _starts(self, part: Any, cond: Any) -> "Starts":
        if _is_normal(part):
            loc, scale = jax.device_get(_parameters(part, cond))
            return _Buckets(self._edges, loc, scale)
        if not isinstance(part, DiscreteConditional):
            raise TypeError(
                f"{type(part).__name__} has no codec here: latents need normal posteriors and "
                "priors, data a likelihood whose entries are independent, such as Bernoulli."
            )
        return _Levels(np.asarray(_log_probabilities(part, cond, self._num_levels), np.float64))


def _shifts(place: tuple[int, ...] | None, size: int) -> list[int]:
    """Numbers of chance for what is popped at a place; none where the bits on top may be any."""
    if place is None:
        return [0] * size
    chance = random.Random(str(place))
    return [chance.getrandbits(_PRECISION) for _ in range(size)]


def _push(
    message: Message, starts: "Starts", value: np.ndarray, place: tuple[int, ...] | None = None
) -> None:
    shifts = _shifts(place, value.size)
    for i, symbol in enumerate(value.reshape(-1).tolist()):
        start, end = starts(i, symbol), starts(i, symbol + 1)
        message.push(start, end - start, _PRECISION)
        message.shift(-shifts[i], _PRECISION)


def _pop(message: Message, starts: "Starts", place: tuple[int, ...] | None = None) -> np.ndarray:
    value = np.zeros(math.prod(starts.shape), np.int64)
    shifts = _shifts(place, value.size)
    for i in reversed(range(value.size)):
        message.shift(shifts[i], _PRECISION)
        below, above = 0, starts.size  # starts(below) <= top < starts(above)
        top = message.peek(_PRECISION)
        while above - below > 1:
            middle = (below + above) // 2
            below, above = (middle, above) if starts(i, middle) <= top else (below, middle)
        start = starts(i, below)
        message.pop(start, starts(i, below + 1) - start, _PRECISION)
        value[i] = below
    return value.reshape(starts.shape)


class _Buckets:
    """starts(i, b): the mass of N(loc_i, scale_i) in buckets before b, in 2^-28.

    Each bucket has some, whatever the rounding of the normal's distribution function.
    """

    size = _BUCKETS

    def __init__(self, edges: list[float], loc: np.ndarray, scale: np.ndarray):
        self.shape, self._edges = loc.shape, edges
        self._loc, self._scale = loc.reshape(-1).tolist(), scale.reshape(-1).tolist()

    def __call__(self, i: int, bucket: int) -> int:
        deviations = (self._edges[bucket] - self._loc[i]) / self._scale[i]
        below = math.erfc(-deviations / math.sqrt(2)) / 2
        return int(((1 << _PRECISION) - 2 * self.size) * below) + 2 * bucket


class _Levels:
    """starts(i, l): the probability of levels before l of entry i, in 2^-28; each level has some.

    Args:
        log_probabilities: [*entries, levels], in nats.
    """

    def __init__(self, log_probabilities: np.ndarray):
        *shape, self.size = log_probabilities.shape
        self.shape = tuple(shape)
        probabilities = np.exp(log_probabilities.reshape(-1, self.size))
        if not np.all(np.isfinite(probabilities)):
            raise ValueError("the model gives levels probabilities that are not finite.")
        sums = np.cumsum(probabilities, axis=1)
        sums = np.concatenate([np.zeros((len(sums), 1)), sums / sums[:, -1:]], axis=1)
        scaled = ((1 << _PRECISION) - self.size) * sums
        self._starts = (scaled.astype(np.int64) + np.arange(self.size + 1)).tolist()

    def __call__(self, i: int, level: int) -> int:
        return self._starts[i][level]


Starts = _Buckets | _Levels


def _is_normal(part: Any) -> bool:
    if isinstance(part, StandardNormal):
        return True
    return isinstance(part, ContinuousConditional) and isinstance(part.distribution, normal.Normal)


@jax.jit
def _parameters(part: Any, cond: Any) -> normal.Parameters:
    return part.parameters(cond)


@functools.partial(jax.jit, static_argnames="num_levels")
def _log_probabilities(part: Any, cond: Any, num_levels: int) -> Float[Array, "*entries levels"]:
    numbers = part.numbers(cond)
    levels = jnp.arange(num_levels)
    one = lambda numbers: jax.vmap(lambda x: part.distribution.log_prob(x, numbers))(levels)
    return jax.vmap(one)(numbers.reshape(-1, numbers.shape[-1])).reshape(
        *numbers.shape[:-1], num_levels
    )
