"""Samplers that share a diffusion's q(z_t | x), with more or less new noise in each step."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.families.diffusion import gaussian_kernel as kernel
from genmix.families.diffusion import reversal
from genmix.families.diffusion.denoiser import Prediction
from genmix.families.diffusion.gaussian_kernel import Event, Level


def step(
    key: Key[Array, ""],
    z: Event,
    prediction: Prediction,
    gamma_s: Level,
    gamma_t: Level,
    *,
    eta: float = 1.0,
) -> Event:
    """Draw z_s of q_eta(z_s | z_t, x) at the predicted x.

    Source: Song, Meng & Ermon (2021), arXiv:2010.02502, equation 12.
    """
    mean = kernel.backward_mean(*prediction, gamma_s, gamma_t, eta)
    noise = jax.random.normal(key, z.shape, z.dtype)
    return mean + eta * jnp.sqrt(kernel.backward_variance(gamma_s, gamma_t)) * noise


class DDIM(nnx.Module):
    """Draws from a diffusion in few steps; it has no density.

    Args:
        diffusion: a `Diffusion`.
        times: at which its denoiser is asked, any that rise from 0 to 1, such as `linspace(0, 1,
            51)` for 50 steps.
        eta: 0 makes an event a deterministic function of the noise at t = 1, which follows the
            probability flow; 1 is the ancestral sampler.

    Raises:
        ValueError: if times do not rise from 0 to 1, or eta is not in [0, 1].

    Source: Song, Meng & Ermon (2021), arXiv:2010.02502.
    """

    def __init__(self, diffusion: Any, times: Sequence[float] | np.ndarray, *, eta: float = 0.0):
        times = np.asarray(times, np.float64)
        if times.ndim != 1 or len(times) < 2 or times[0] != 0 or times[-1] != 1:
            raise ValueError(f"times must be a sequence that goes from 0 to 1, got {times}.")
        if np.any(np.diff(times) <= 0):
            raise ValueError(f"times must rise from 0 to 1 without a step back, got {times}.")
        if not 0 <= eta <= 1:
            raise ValueError(f"eta must be in [0, 1], got {eta}.")
        self.diffusion, self.times, self.eta = diffusion, tuple(times.tolist()), eta

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Event:
        gammas = self.diffusion.levels(jnp.asarray(self.times))
        chosen = functools.partial(step, eta=self.eta)
        return reversal.sample(key, self.diffusion, gammas, chosen, cond)

    def path(self, key: Key[Array, ""], cond: PyTree = None) -> Float[Array, "times ..."]:
        """All z that a draw passes through, in the order of `times`: noise comes last."""
        gammas = self.diffusion.levels(jnp.asarray(self.times))
        chosen = functools.partial(step, eta=self.eta)
        return reversal.steps(key, self.diffusion, gammas, chosen, cond)[1]
