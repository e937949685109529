"""Monotone rational-quadratic splines with linear tails, elementwise."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from genmix.densities.logistic import softplus

Event = Float[Array, "*event"]
Knots = Float[Array, "*event knots"]
Parameters = Float[Array, "*event parameters"]


def forward_and_log_slope(
    x: Event, knots_x: Knots, knots_y: Knots, slopes: Knots
) -> tuple[Event, Event]:
    """Spline through increasing knots with given slopes at them; log dy / dx in nats.

    Outside the knots it goes on straight, with the slope of the outermost. All finite, gradients
    too, for finite x, also at the knots.

    Source: Gregory & Delbourgo (1982); Durkan et al. (2019), arXiv:1906.04032, section 3.1.
    """
    inside, middle = _middle(x, knots_x)
    x0, width, y0, height, slope0, slope1 = _bin(middle, knots_x, knots_x, knots_y, slopes)
    position = (middle - x0) / width
    mean_slope = height / width
    between = position * (1 - position)
    denominator = mean_slope + (slope1 + slope0 - 2 * mean_slope) * between
    y = y0 + height * (mean_slope * position**2 + slope0 * between) / denominator
    log_slope = _log_slope(position, mean_slope, slope0, slope1)
    tail, tail_log_slope = _tail(x, knots_x, knots_y, slopes)
    return jnp.where(inside, y, tail), jnp.where(inside, log_slope, tail_log_slope)


def inverse_and_log_slope(
    y: Event, knots_x: Knots, knots_y: Knots, slopes: Knots
) -> tuple[Event, Event]:
    """Inverse of the spline; log dx / dy in nats.

    Source: Durkan et al. (2019), arXiv:1906.04032, equations 6 to 8 and 29.
    """
    inside, middle = _middle(y, knots_y)
    x0, width, y0, height, slope0, slope1 = _bin(middle, knots_y, knots_x, knots_y, slopes)
    mean_slope = height / width
    offset = middle - y0
    curvature = offset * (slope1 + slope0 - 2 * mean_slope)
    a = height * (mean_slope - slope0) + curvature
    b = height * slope0 - curvature
    c = -mean_slope * offset
    # Positive in exact arithmetic; this root divides by a sum of two positive numbers.
    discriminant = b**2 - 4 * a * c
    smallest = jnp.finfo(y.dtype).tiny
    position = 2 * c / (-b - jnp.sqrt(jnp.maximum(discriminant, smallest)))
    log_slope = _log_slope(position, mean_slope, slope0, slope1)
    tail, tail_log_slope = _tail(y, knots_y, knots_x, 1 / slopes)
    x = jnp.where(inside, x0 + width * position, tail)
    return x, jnp.where(inside, -log_slope, tail_log_slope)


def _middle(x: Event, knots: Knots) -> tuple[Bool[Array, "*event"], Event]:
    """Which entries lie between the outermost knots; the others are moved there."""
    inside = (x > knots[..., 0]) & (x < knots[..., -1])
    return inside, jnp.where(inside, x, knots[..., 0])


def _bin(
    x: Event, knots: Knots, knots_x: Knots, knots_y: Knots, slopes: Knots
) -> tuple[Event, Event, Event, Event, Event, Event]:
    """Corner, width, corner, height, and both slopes of the bin of `knots` that x is in."""
    # A sum over few bins, all but one of them zero, is faster than a gather, forth and back.
    at = (x[..., None] >= knots[..., :-1]) & (x[..., None] < knots[..., 1:])
    pick = lambda values: jnp.sum(jnp.where(at, values, 0), axis=-1)
    x0, y0 = pick(knots_x[..., :-1]), pick(knots_y[..., :-1])
    width, height = pick(jnp.diff(knots_x)), pick(jnp.diff(knots_y))
    return x0, width, y0, height, pick(slopes[..., :-1]), pick(slopes[..., 1:])


def _log_slope(position: Event, mean_slope: Event, slope0: Event, slope1: Event) -> Event:
    between = position * (1 - position)
    numerator = slope1 * position**2 + 2 * mean_slope * between + slope0 * (1 - position) ** 2
    denominator = mean_slope + (slope1 + slope0 - 2 * mean_slope) * between
    return 2 * jnp.log(mean_slope) + jnp.log(numerator) - 2 * jnp.log(denominator)


def _tail(x: Event, knots_x: Knots, knots_y: Knots, slopes: Knots) -> tuple[Event, Event]:
    right = x >= knots_x[..., -1]
    end = lambda values: jnp.where(right, values[..., -1], values[..., 0])
    return end(knots_y) + end(slopes) * (x - end(knots_x)), jnp.log(end(slopes))


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
        return forward_and_log_slope(x, *self.knots(parameters))

    def inverse_and_log_slope(self, y: Event, parameters: Parameters) -> tuple[Event, Event]:
        return inverse_and_log_slope(y, *self.knots(parameters))
