"""The differential equation with the same marginals as a diffusion: a flow with a density."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.densities import normal
from genmix.families.diffusion import gaussian_kernel as kernel
from genmix.families.diffusion.decoders import Continuous
from genmix.families.diffusion.gaussian_kernel import Event, Level

Field = Callable[[Event, Level], tuple[Event, Float[Array, ""]]]
"""(z, gamma) -> dz / d gamma, and its divergence in z."""


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

        def field(z: Event, gamma: Level) -> tuple[Event, Float[Array, ""]]:
            velocity = lambda flat: self._velocity(flat.reshape(z.shape), gamma, cond).reshape(-1)
            flat, push = jax.linearize(velocity, z.reshape(-1))
            return flat.reshape(z.shape), jnp.trace(jax.vmap(push)(jnp.eye(z.size, dtype=z.dtype)))

        return self._log_prob(x, field)

    def log_bound(self, key: Key[Array, ""], x: Event, cond: PyTree = None) -> Float[Array, ""]:
        """Unbiased estimate of `log_prob` by one derivative along random signs, in nats.

        Source: Hutchinson (1990); Grathwohl et al. (2019), arXiv:1810.01367, section 3.1.1.
        """
        signs = jax.random.rademacher(key, x.shape, x.dtype)

        def field(z: Event, gamma: Level) -> tuple[Event, Float[Array, ""]]:
            velocity = lambda z: self._velocity(z, gamma, cond)
            slope, along = jax.jvp(velocity, (z,), (signs,))
            return slope, jnp.sum(signs * along)

        return self._log_prob(x, field)

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Event:
        """A deterministic function of noise."""
        gammas = self._gammas()
        start = jax.random.normal(key, self.diffusion.shape, gammas.dtype)
        field = lambda z, gamma: (self._velocity(z, gamma, cond), jnp.zeros((), z.dtype))
        return _integrate(field, start, gammas[::-1])[0] / kernel.alpha(gammas[0])

    def _gammas(self) -> Float[Array, " n"]:
        return self.diffusion.levels(jnp.linspace(0, 1, self.num_steps + 1))

    def _velocity(self, z: Event, gamma: Level, cond: PyTree) -> Event:
        sigma = kernel.sigma(gamma)
        return 0.5 * sigma * (self.diffusion.denoiser(z, gamma, cond).noise - sigma * z)

    def _log_prob(self, x: Event, field: Field) -> Float[Array, ""]:
        gammas = self._gammas()
        scale = kernel.alpha(gammas[0])
        end, gain = _integrate(field, scale * self.diffusion.encode(x), gammas)
        log_end = jnp.sum(normal.log_prob(end, jnp.zeros_like(end), jnp.ones_like(end)))
        return log_end + gain + x.size * jnp.log(scale)


def _integrate(
    field: Field, z: Event, gammas: Float[Array, " n"]
) -> tuple[Event, Float[Array, ""]]:
    """Where z gets to along the levels, and the integral of the divergence on the way."""

    def body(state: tuple[Event, Array], ends: tuple[Level, Level]) -> tuple[Any, None]:
        z, gain = state
        start, end = ends
        h = end - start
        k1 = field(z, start)
        k2 = field(z + 0.5 * h * k1[0], start + 0.5 * h)
        k3 = field(z + 0.5 * h * k2[0], start + 0.5 * h)
        k4 = field(z + h * k3[0], end)
        mean = lambda i: (k1[i] + 2 * k2[i] + 2 * k3[i] + k4[i]) / 6
        return (z + h * mean(0), gain + h * mean(1)), None

    start = (z, jnp.zeros((), z.dtype))
    return jax.lax.scan(body, start, (gammas[:-1], gammas[1:]))[0]
