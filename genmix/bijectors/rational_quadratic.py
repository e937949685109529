"""Monotone rational-quadratic splines with linear tails, elementwise."""

import dataclasses
import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from genmix.densities.logistic import softplus

Event = Float[Array, "*event"]
Knots = Float[Array, "*event knots"]
Parameters = Float[Array, "*event parameters"]


class Bin(NamedTuple):
    """The piece of a spline between two knots: its lower corner, size, and slopes at both ends."""

    x: Array
    width: Array
    y: Array
    height: Array
    slope0: Array
    slope1: Array


def forward_and_log_slope(
    x: Event, knots_x: Knots, knots_y: Knots, slopes: Knots
) -> tuple[Event, Event]:
    """Spline through increasing knots with given slopes at them; log dy / dx in nats.

    Outside the knots it goes on straight, with the slope of the outermost. All finite, gradients
    too, for finite x, also at the knots.

    Source: Gregory & Delbourgo (1982); Durkan et al. (2019), arXiv:1906.04032, section 3.1.
    """
    inside = (x > knots_x[..., 0]) & (x < knots_x[..., -1])
    middle = jnp.where(inside, x, knots_x[..., 0])
    y, log_slope = _forward(middle, _bin(middle, knots_x, knots_x, knots_y, slopes))
    tail, tail_log_slope = _tail(x, knots_x, knots_y, slopes)
    return jnp.where(inside, y, tail), jnp.where(inside, log_slope, tail_log_slope)


def inverse_and_log_slope(
    y: Event, knots_x: Knots, knots_y: Knots, slopes: Knots
) -> tuple[Event, Event]:
    """Inverse of the spline; log dx / dy in nats.

    Source: Durkan et al. (2019), arXiv:1906.04032, equations 6 to 8 and 29.
    """
    inside = (y > knots_y[..., 0]) & (y < knots_y[..., -1])
    middle = jnp.where(inside, y, knots_y[..., 0])
    x, log_slope = _inverse(middle, _bin(middle, knots_y, knots_x, knots_y, slopes))
    tail, tail_log_slope = _tail(y, knots_y, knots_x, 1 / slopes)
    return jnp.where(inside, x, tail), jnp.where(inside, log_slope, tail_log_slope)


def _forward(x: Event, piece: Bin) -> tuple[Event, Event]:
    position = (x - piece.x) / piece.width
    # Within the bin, but with the slope there, also where rounding leads a little outside.
    position = position + jax.lax.stop_gradient(_within(position) - position)
    return _value(position, piece), _log_slope(position, piece)


def _inverse(y: Event, piece: Bin) -> tuple[Event, Event]:
    position = _position(y, piece)
    return piece.x + piece.width * position, -_log_slope(position, piece)


def _value(position: Event, piece: Bin) -> Event:
    """The spline at a position in a bin, from 0 to 1."""
    mean_slope = piece.height / piece.width
    between = position * (1 - position)
    denominator = mean_slope + (piece.slope1 + piece.slope0 - 2 * mean_slope) * between
    rise = piece.height * (mean_slope * position**2 + piece.slope0 * between) / denominator
    return piece.y + rise


@jax.custom_jvp
def _position(y: Event, piece: Bin) -> Event:
    """The position in a bin, from 0 to 1, where the spline is y."""
    mean_slope = piece.height / piece.width
    offset = y - piece.y
    curvature = offset * (piece.slope1 + piece.slope0 - 2 * mean_slope)
    a = piece.height * (mean_slope - piece.slope0) + curvature
    b = piece.height * piece.slope0 - curvature
    c = -mean_slope * offset
    # Positive in exact arithmetic; this root divides by a sum of two positive numbers.
    discriminant = jnp.maximum(b**2 - 4 * a * c, jnp.finfo(y.dtype).tiny)
    return _within(2 * c / (-b - jnp.sqrt(discriminant)))


@_position.defjvp
def _position_jvp(primals: tuple, tangents: tuple) -> tuple:
    # By the equation that it solves: near knots rounding spoils the derivative of the root.
    (_, piece), (change, piece_change) = primals, tangents
    position = _position(*primals)
    _, moved = jax.jvp(lambda piece: _value(position, piece), (piece,), (piece_change,))
    slope = piece.width * jnp.exp(_log_slope(position, piece))
    return position, (change - moved) / slope


def _within(position: Event) -> Event:
    """Rounding may put what lies at the end of a bin a little outside."""
    return jnp.where(position < 0, 0, jnp.where(position > 1, 1, position))


def _log_slope(position: Event, piece: Bin) -> Event:
    slope0, slope1, mean_slope = piece.slope0, piece.slope1, piece.height / piece.width
    between = position * (1 - position)
    numerator = slope1 * position**2 + 2 * mean_slope * between + slope0 * (1 - position) ** 2
    denominator = mean_slope + (slope1 + slope0 - 2 * mean_slope) * between
    return 2 * jnp.log(mean_slope / denominator) + jnp.log(numerator)


def _tail(x: Event, knots_x: Knots, knots_y: Knots, slopes: Knots) -> tuple[Event, Event]:
    right = x >= knots_x[..., -1]
    end = lambda values: jnp.where(right, values[..., -1], values[..., 0])
    return end(knots_y) + end(slopes) * (x - end(knots_x)), jnp.log(end(slopes))


def _bin(x: Event, knots: Knots, knots_x: Knots, knots_y: Knots, slopes: Knots) -> Bin:
    """The bin of `knots` that x is in."""
    # A sum over few bins, all but one of them zero, is faster than a gather, forth and back.
    at = (x[..., None] >= knots[..., :-1]) & (x[..., None] < knots[..., 1:])
    pick = lambda values: jnp.sum(jnp.where(at, values, 0), axis=-1)
    return Bin(
        pick(knots_x[..., :-1]),
        pick(jnp.diff(knots_x)),
        pick(knots_y[..., :-1]),
        pick(jnp.diff(knots_y)),
        pick(slopes[..., :-1]),
        pick(slopes[..., 1:]),
    )


# The same from logits, for speed. A bin's slopes are computed after it is found, not for all bins.
# Bins come first, so that what is elementwise in the event reads memory in order, and sums over
# them are written out, which XLA fuses. Derivatives are said outright: they end in a division,
# since XLA computes cheap operations again for each bin that uses them, and divisions once.


def _terms(logits: Array) -> tuple[Array, Array]:
    """The terms of the softmax over the first axis, and their sum."""
    terms = jnp.exp(logits - jax.lax.stop_gradient(jnp.max(logits, axis=0, keepdims=True)))
    return terms, functools.reduce(jnp.add, terms)


def _numbers(values: Array) -> Array:
    return jnp.arange(len(values)).reshape(-1, *[1] * (values.ndim - 1))


@jax.custom_jvp
def _shares(logits: Array, index: Event) -> tuple[Event, Event]:
    """Softmax of the bins before the one with the given number, in all, and of that one."""
    terms, total = _terms(logits)
    before = sum(jnp.where(index > i, term, 0) for i, term in enumerate(terms))
    own = sum(jnp.where(index == i, term, 0) for i, term in enumerate(terms))
    return before / total, own / total


@_shares.defjvp
def _shares_jvp(primals: tuple, tangents: tuple) -> tuple:
    logits, index = primals
    terms, total = _terms(logits)
    before, own = _shares(logits, index)
    change = terms * tangents[0]
    over = lambda mask: jnp.sum(jnp.where(mask, change, 0), axis=0)
    mean, number = jnp.sum(change, axis=0), _numbers(terms)
    change_before = (over(number < index[None]) - before * mean) / total
    change_own = (over(number == index[None]) - own * mean) / total
    return (before, own), (change_before, change_own)


@jax.custom_jvp
def _ends(inner: Array, index: Event) -> tuple[Event, Event]:
    """Values at the ends of a bin, from those at the inner knots; zero at the outermost."""
    at = lambda knot: sum((jnp.where(knot == i, v, 0) for i, v in enumerate(inner)), 0 * index)
    return at(index - 1), at(index)


@_ends.defjvp
def _ends_jvp(primals: tuple, tangents: tuple) -> tuple:
    inner, index = primals
    at = lambda knot: jnp.sum(jnp.where(_numbers(inner) == knot[None], tangents[0], 0), axis=0)
    return _ends(inner, index), (at(index - 1), at(index))


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _slope(raw: Event, min_slope: float) -> Event:
    return min_slope + softplus(raw + math.log(math.expm1(1 - min_slope)))


@_slope.defjvp
def _slope_jvp(min_slope: float, primals: tuple, tangents: tuple) -> tuple:
    (raw,), (change,) = primals, tangents
    constant = math.log(math.expm1(1 - min_slope))
    return _slope(raw, min_slope), change / (1 + jnp.exp(-raw - constant))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RationalQuadratic:
    """Spline on [-bound, bound], the identity outside, from 3 num_bins - 1 free parameters.

    They are the logits of the bins' widths, those of their heights, and the raw slopes at the inner
    knots; at zero the spline is the identity.

    Attributes:
        min_size: smallest width and height of a bin, as a share of the whole.
        min_slope: smallest slope at a knot; it is min_slope + softplus(raw + constant).

    Source: Durkan et al. (2019), arXiv:1906.04032.
    """

    num_bins: int = 8
    bound: float = 3.0
    min_size: float = 1e-3
    min_slope: float = 1e-3

    def __post_init__(self):
        if self.num_bins < 1 or self.bound <= 0:
            raise ValueError(
                f"RationalQuadratic needs num_bins >= 1 and bound > 0, got {self.num_bins} and "
                f"{self.bound}."
            )
        if not 0 < self.min_size * self.num_bins < 1 or not 0 < self.min_slope < 1:
            raise ValueError(
                "RationalQuadratic needs 0 < min_size < 1 / num_bins and 0 < min_slope < 1, got "
                f"min_size {self.min_size}, num_bins {self.num_bins}, min_slope {self.min_slope}."
            )

    @property
    def num_parameters(self) -> int:
        return 3 * self.num_bins - 1

    def knots(self, parameters: Parameters) -> tuple[Knots, Knots, Knots]:
        """Both coordinates of the knots and the slopes there."""
        widths, heights, raw = jnp.split(parameters, [self.num_bins, 2 * self.num_bins], axis=-1)
        inner = self.min_slope + softplus(raw + math.log(math.expm1(1 - self.min_slope)))
        one = jnp.ones_like(parameters[..., :1])
        slopes = jnp.concatenate([one, inner, one], axis=-1)
        return self._positions(widths), self._positions(heights), slopes

    def _positions(self, logits: Array) -> Array:
        shares = self.min_size + (1 - self.num_bins * self.min_size) * jax.nn.softmax(logits)
        inner = self.bound * (2 * jnp.cumsum(shares[..., :-1], axis=-1) - 1)
        end = jnp.full_like(logits[..., :1], self.bound)
        return jnp.concatenate([-end, inner, end], axis=-1)

    def forward_and_log_slope(self, x: Event, parameters: Parameters) -> tuple[Event, Event]:
        inside, middle = self._middle(x)
        widths, heights, slopes = self._split(parameters)
        index = self._index(middle, widths)
        y, log_slope = _forward(middle, self._bin(index, widths, heights, slopes))
        return jnp.where(inside, y, x), jnp.where(inside, log_slope, 0)

    def inverse_and_log_slope(self, y: Event, parameters: Parameters) -> tuple[Event, Event]:
        inside, middle = self._middle(y)
        widths, heights, slopes = self._split(parameters)
        index = self._index(middle, heights)
        x, log_slope = _inverse(middle, self._bin(index, widths, heights, slopes))
        return jnp.where(inside, x, y), jnp.where(inside, log_slope, 0)

    def _middle(self, x: Event) -> tuple[Array, Event]:
        """Which entries lie between the outermost knots; the others are moved there."""
        inside = (x > -self.bound) & (x < self.bound)
        return inside, jnp.where(inside, x, -self.bound)

    def _split(self, parameters: Parameters) -> list[Array]:
        """Logits of the widths, of the heights, and raw slopes, on the first axis."""
        return jnp.split(jnp.moveaxis(parameters, -1, 0), [self.num_bins, 2 * self.num_bins])

    def _index(self, x: Event, logits: Array) -> Event:
        """Number of the bin that x is in."""
        terms, total = _terms(jax.lax.stop_gradient(logits))
        x = jax.lax.stop_gradient(x)
        before, square = jnp.zeros_like(x), jnp.zeros_like(x)
        for i, term in enumerate(terms[:-1]):
            before = before + term
            square = square + jnp.where(x >= self._place(before / total, i + 1), 2 * i + 1, 0)
        # Counted as its square, since a root is computed once, and a sum again for each use.
        return jnp.sqrt(square)

    def _place(self, share: Event, index: Array | int) -> Event:
        """Where a bin starts, before which there are so many others with that share of the sum."""
        return self.bound * (2 * (self.min_size * index + self._free * share) - 1)

    @property
    def _free(self) -> float:
        return 1 - self.num_bins * self.min_size

    def _bin(self, index: Event, widths: Array, heights: Array, slopes: Array) -> Bin:
        def place_and_size(logits: Array) -> tuple[Event, Event]:
            before, own = _shares(logits, index)
            size = 2 * self.bound * (self.min_size + self._free * own)
            return self._place(before, index), size

        start, end = _ends(slopes, index)
        ends = _slope(start, self.min_slope), _slope(end, self.min_slope)
        return Bin(*place_and_size(widths), *place_and_size(heights), *ends)
