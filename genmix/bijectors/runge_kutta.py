"""Integrals along the path of a differential equation, and what the path does to volumes."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Event = Float[Array, "..."]
Time = Float[Array, ""]
Field = Callable[[Event, Time], Event]
"""(z, time) -> dz / dtime."""
Divergence = Callable[[Field, Event, Time], tuple[Event, Float[Array, ""]]]
"""(field, z, time) -> the field there, and its divergence in z or an estimate."""


def exact(field: Field, z: Event, time: Time) -> tuple[Event, Float[Array, ""]]:
    """The field and its divergence: one derivative for each entry of z."""
    flat = lambda flat: field(flat.reshape(z.shape), time).reshape(-1)
    slope, push = jax.linearize(flat, z.reshape(-1))
    basis = jnp.eye(z.size, dtype=z.dtype)
    return slope.reshape(z.shape), jnp.trace(jax.vmap(push)(basis))


def hutchinson(signs: Event) -> Divergence:
    """Unbiased estimates of the divergence, by one derivative along random signs.

    The same signs all along a path, so that what is integrated is a function.

    Source: Hutchinson (1990); Grathwohl et al. (2019), arXiv:1810.01367, section 3.1.1.
    """

    def estimate(field: Field, z: Event, time: Time) -> tuple[Event, Float[Array, ""]]:
        slope, along = jax.jvp(lambda z: field(z, time), (z,), (signs,))
        return slope, jnp.sum(signs * along)

    return estimate


def without(field: Field, z: Event, time: Time) -> tuple[Event, Float[Array, ""]]:
    """The field, and zero for a divergence that nobody asks for."""
    return field(z, time), jnp.zeros((), z.dtype)


def integrate(
    field: Field, z: Event, times: Float[Array, " n"], divergence: Divergence = without
) -> tuple[Event, Float[Array, ""]]:
    """Where z gets to along the times, and the integral of the divergence on the way, in nats.

    The integral is the log-determinant of the map from z to where it gets to. One classical
    Runge-Kutta step of fourth order from each time to the next.

    Source: Chen et al. (2018), arXiv:1806.07366, equation 8.
    """

    def body(
        state: tuple[Event, Array], ends: tuple[Time, Time]
    ) -> tuple[tuple[Event, Array], None]:
        z, gain = state
        start, end = ends
        h = end - start
        k1 = divergence(field, z, start)
        k2 = divergence(field, z + 0.5 * h * k1[0], start + 0.5 * h)
        k3 = divergence(field, z + 0.5 * h * k2[0], start + 0.5 * h)
        k4 = divergence(field, z + h * k3[0], end)
        mean = lambda i: (k1[i] + 2 * k2[i] + 2 * k3[i] + k4[i]) / 6
        return (z + h * mean(0), gain + h * mean(1)), None

    start = (z, jnp.zeros((), z.dtype))
    return jax.lax.scan(body, start, (times[:-1], times[1:]))[0]
