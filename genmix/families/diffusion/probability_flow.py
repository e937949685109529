"""The differential equation with the same marginals as a diffusion: a flow with a density."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.bijectors import runge_kutta
from genmix.densities import normal
from genmix.families.diffusion import gaussian_kernel as kernel
from genmix.families.diffusion.decoders import Continuous
from genmix.families.diffusion.gaussian_kernel import Event, Level


class ProbabilityFlow(nnx.Module):
    """dz / d gamma = sigma (predicted noise - sigma z) / 2, from N(0, I) at gamma(1) to gamma(0).

    Events are z_0 / alpha_0, so that the density is of data with the smallest noise, and of real
    events: put levels into `Dequantized`. It is as exact as `num_steps` steps of fourth order are.

    Args:
        diffusion: a `Diffusion` of real events, whose schedule says where the steps are.
        num_steps: of the classical Runge-Kutta method, each with four calls of the denoiser.

    Raises:
        ValueError: if num_steps < 1.
        TypeError: if the diffusion's events are not real.

    Source: Song et al. (2021), arXiv:2011.13456, section 4.3 and appendix D.
    """

    def __init__(self, diffusion: Any, num_steps: int = 50):
        if num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {num_steps}.")
        if not isinstance(diffusion.decoder, Continuous):
            raise TypeError(
                f"ProbabilityFlow needs a diffusion of real events, got one that decodes with "
                f"{type(diffusion.decoder).__name__}: train it on dequantized events, with "
                "Dequantized around the flow."
            )
        self.diffusion, self.num_steps = diffusion, num_steps

    def log_prob(self, x: Event, cond: PyTree = None) -> Float[Array, ""]:
        """Log-density in nats, by the exact divergence: one derivative for each entry of x."""
        return self._log_prob(x, cond, runge_kutta.exact)

    def log_bound(self, key: Key[Array, ""], x: Event, cond: PyTree = None) -> Float[Array, ""]:
        """Unbiased estimate of `log_prob` by one derivative along random signs, in nats."""
        signs = jax.random.rademacher(key, x.shape, x.dtype)
        return self._log_prob(x, cond, runge_kutta.hutchinson(signs))

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Event:
        """A deterministic function of noise."""
        gammas = self._gammas()
        start = jax.random.normal(key, self.diffusion.shape, gammas.dtype)
        end, _ = runge_kutta.integrate(self._velocity(cond), start, gammas[::-1])
        return end / kernel.alpha(gammas[0])

    def _gammas(self) -> Float[Array, " n"]:
        return self.diffusion.levels(jnp.linspace(0, 1, self.num_steps + 1))

    def _velocity(self, cond: PyTree) -> runge_kutta.Field:
        def velocity(z: Event, gamma: Level) -> Event:
            sigma = kernel.sigma(gamma)
            return 0.5 * sigma * (self.diffusion.denoiser(z, gamma, cond).noise - sigma * z)

        return velocity

    def _log_prob(
        self, x: Event, cond: PyTree, divergence: runge_kutta.Divergence
    ) -> Float[Array, ""]:
        gammas = self._gammas()
        scale = kernel.alpha(gammas[0])
        start = scale * self.diffusion.encode(x)
        end, gain = runge_kutta.integrate(self._velocity(cond), start, gammas, divergence)
        log_end = jnp.sum(normal.log_prob(end, jnp.zeros_like(end), jnp.ones_like(end)))
        return log_end + gain + x.size * jnp.log(scale)
