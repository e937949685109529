"""Fixed points of autoregressive updates, in parallel sweeps."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Event = Float[Array, "..."]


def solve(update: Callable[[Event], Event], start: Event) -> Event:
    """The y with y = update(y), for an update whose entries depend on earlier entries only.

    Jacobi's iteration: every sweep replaces all entries at once and gets at least one more of them
    right, in the order of the dependencies, so as many sweeps as entries are exact; it stops
    earlier, when a sweep moves no entry by more than a few roundings. Entries that overflow on the
    way are taken as zero until their own turn. Derivatives, forward and reverse, are those of the
    fixed point, by the same iteration on the linearized update; they reach whatever `update` closes
    over. An update that promotes the type of `start` promotes that of y.

    Source: Song et al. (2021), arXiv:2002.03629, section 3.
    """

    def sweeps(_: Callable, start: Event) -> Event:
        return _iterate(lambda y: update(jnp.where(jnp.isfinite(y), y, 0)), start)

    def tangent(residual: Callable, b: Event) -> Event:
        return jax.lax.custom_linear_solve(residual, b, _linear, transpose_solve=_linear)

    start = start.astype(jax.eval_shape(update, start).dtype)
    return jax.lax.custom_root(lambda y: y - update(y), start, sweeps, tangent)


def _linear(residual: Callable[[Event], Event], b: Event) -> Event:
    """The v with residual(v) = v - N v = b, N nilpotent."""
    return _iterate(lambda v: b + (v - residual(v)), b)


def _iterate(update: Callable[[Event], Event], start: Event) -> Event:
    tolerance = 8 * jnp.finfo(start.dtype).eps

    def moving(state: tuple[Array, Event, Array]) -> Array:
        count, _, moved = state
        return moved & (count < start.size)

    def sweep(state: tuple[Array, Event, Array]) -> tuple[Array, Event, Array]:
        count, old, _ = state
        new = update(old)
        moved = jnp.any(jnp.abs(new - old) > tolerance * (1 + jnp.abs(new)))
        return count + 1, new, moved

    return jax.lax.while_loop(moving, sweep, (jnp.zeros((), int), start, jnp.array(True)))[1]
