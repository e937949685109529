"""From noise to an event, level by level: the one loop of all samplers."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from genmix.families.diffusion.denoiser import Prediction
from genmix.families.diffusion.gaussian_kernel import Event, Level

Step = Callable[[Key[Array, ""], Event, Prediction, Level, Level], Event]
"""(key, z_t, what the denoiser says of it, gamma_s, gamma_t) -> z_s."""


def steps(
    key: Key[Array, ""], diffusion: Any, gammas: Float[Array, " n"], step: Step, cond: PyTree = None
) -> tuple[Event, Float[Array, "m ..."]]:
    """z at the smallest level of noise, and all z on the way there, from N(0, I) on.

    Args:
        diffusion: has a `denoiser`, and the `shape` of an event.
        gammas: levels of noise, rising.
    """
    start_key, path_key = jax.random.split(key)
    start = jax.random.normal(start_key, diffusion.shape, gammas.dtype)

    def body(z: Event, i: Array) -> tuple[Event, Event]:
        prediction = diffusion.denoiser(z, gammas[i], cond)
        z = step(jax.random.fold_in(path_key, i), z, prediction, gammas[i - 1], gammas[i])
        return z, z

    end, path = jax.lax.scan(body, start, jnp.arange(1, len(gammas)), reverse=True)
    return end, jnp.concatenate([path, start[None]])


def sample(
    key: Key[Array, ""], diffusion: Any, gammas: Float[Array, " n"], step: Step, cond: PyTree = None
) -> Event:
    """An event: the end of the steps, decoded."""
    steps_key, decoder_key = jax.random.split(key)
    z, _ = steps(steps_key, diffusion, gammas, step, cond)
    return diffusion.decode(decoder_key, z, cond)
