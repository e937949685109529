"""A diffusion in discrete time: a Markov chain, with a log-weight along each of its paths."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree, Shaped

from genmix.densities import normal
from genmix.families.diffusion import gaussian_kernel as kernel
from genmix.families.diffusion import reversal
from genmix.families.diffusion.denoiser import Prediction
from genmix.families.diffusion.gaussian_kernel import Event, Level
from genmix.families.diffusion.variances import Variance, beta_tilde


class DiffusionChain(nnx.Module):
    """p(x | z_0) p(z_0 | z_1) ... p(z_T), with T steps of a diffusion's schedule.

    Given z_t, z_s is normal: its mean that of q(z_s | z_t, x) at the predicted x, its scale
    `variance`. Along a path z_0 .. z_T drawn from q,

        log_weight = log p(z_T) + sum over t of log p(z_s | z_t) - log q(z_t | z_s)
                     + log p(x | z_0) - log q(z_0 | x):

    the exponential's mean is p(x). DDPM with 1000 steps has T = 999 here, and the decoder's.

    Args:
        diffusion: a `Diffusion`, trained in continuous time or as this chain.
        num_steps: T.
        variance: of `genmix.families.diffusion.variances`.

    Raises:
        ValueError: if num_steps < 1.

    Source: Sohl-Dickstein et al. (2015), arXiv:1503.03585, equation 9 (the log-weight); Ho, Jain &
    Abbeel (2020), arXiv:2006.11239, equation 5 (the bound).
    """

    def __init__(self, diffusion: Any, num_steps: int, variance: Variance = beta_tilde):
        if num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {num_steps}.")
        self.diffusion, self.num_steps, self.variance = diffusion, num_steps, variance

    def _gammas(self) -> Float[Array, " n"]:
        return self.diffusion.levels(jnp.linspace(0, 1, self.num_steps + 1))

    def log_weight(
        self, key: Key[Array, ""], x: Shaped[Array, "..."], cond: PyTree = None
    ) -> Float[Array, ""]:
        """Log of an unbiased estimate of p(x | cond) along one path, in nats."""
        start_key, path_key = jax.random.split(key)
        event, gammas = self.diffusion.encode(x), self._gammas()
        loc, scale = kernel.alpha(gammas[0]) * event, kernel.sigma(gammas[0])
        z = normal.sample(start_key, loc, scale)
        log_first = jnp.sum(normal.log_prob(z, loc, scale))

        def body(z_s: Event, i: Array) -> tuple[Event, Float[Array, ""]]:
            loc, scale = kernel.forward(z_s, gammas[i - 1], gammas[i])
            z_t = normal.sample(jax.random.fold_in(path_key, i), loc, scale)
            back = self._backward(z_t, gammas[i - 1], gammas[i], cond)
            log_ratio = normal.log_prob(z_s, *back) - normal.log_prob(z_t, loc, scale)
            return z_t, jnp.sum(log_ratio)

        end, log_ratios = jax.lax.scan(body, z, jnp.arange(1, self.num_steps + 1))
        log_end = jnp.sum(normal.log_prob(end, jnp.zeros_like(end), jnp.ones_like(end)))
        log_x = self.diffusion.log_decoder(x, z, cond)
        return log_end + jnp.sum(log_ratios) + log_x - log_first

    def log_bound(
        self, key: Key[Array, ""], x: Shaped[Array, "..."], cond: PyTree = None
    ) -> Float[Array, ""]:
        """Unbiased estimate of E log_weight by one step of the chain, in nats."""
        time_key, key = jax.random.split(key)
        return self.log_bound_at(key, jax.random.uniform(time_key), x, cond)

    def log_bound_at(
        self,
        key: Key[Array, ""],
        t: Float[Array, ""],
        x: Shaped[Array, "..."],
        cond: PyTree = None,
    ) -> Float[Array, ""]:
        """`log_bound` by the step that the time t in [0, 1] falls into; NaN outside."""
        end_key, noise_key = jax.random.split(key)
        i = jnp.clip(jnp.ceil(t * self.num_steps), 1, self.num_steps).astype(int)
        noise = jax.random.normal(noise_key, self.diffusion.shape, self.diffusion.encode(x).dtype)
        value = self.diffusion.log_ends(end_key, x, cond)
        value = value - self.num_steps * self.step_kl(noise, i, x, cond)
        return jnp.where((t >= 0) & (t <= 1), value, jnp.nan)

    def step_kl(
        self, noise: Event, i: Array, x: Shaped[Array, "..."], cond: PyTree = None
    ) -> Float[Array, ""]:
        """KL(q(z_s | z_t, x) || p(z_s | z_t)) of step i = 1 .. T at one z_t, in nats."""
        event, gammas = self.diffusion.encode(x), self._gammas()
        gamma_s, gamma_t = gammas[i - 1], gammas[i]
        back = self._backward(kernel.diffuse(event, noise, gamma_t), gamma_s, gamma_t, cond)
        mean = kernel.backward_mean(event, noise, gamma_s, gamma_t)
        scale = jnp.sqrt(kernel.backward_variance(gamma_s, gamma_t))
        return jnp.sum(normal.kl(mean, scale, *back))

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Event:
        """Draw an event, ancestrally."""

        def step(key, z, prediction: Prediction, gamma_s, gamma_t):
            noise = jax.random.normal(key, z.shape, z.dtype)
            scale = self.variance(z, gamma_s, gamma_t, cond)
            return kernel.backward_mean(*prediction, gamma_s, gamma_t) + scale * noise

        return reversal.sample(key, self.diffusion, self._gammas(), step, cond)

    def _backward(
        self, z_t: Event, gamma_s: Level, gamma_t: Level, cond: PyTree
    ) -> tuple[Event, Array]:
        """Mean and standard deviation of p(z_s | z_t)."""
        prediction: Prediction = self.diffusion.denoiser(z_t, gamma_t, cond)
        mean = kernel.backward_mean(*prediction, gamma_s, gamma_t)
        return mean, self.variance(z_t, gamma_s, gamma_t, cond)
