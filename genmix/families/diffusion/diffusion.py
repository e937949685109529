"""A diffusion in continuous time: a density with a bound that one random time estimates."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree, Shaped

from genmix.densities import normal
from genmix.families.diffusion import ddim, reversal
from genmix.families.diffusion import gaussian_kernel as kernel
from genmix.families.diffusion.decoders import Continuous, Decoder
from genmix.families.diffusion.denoiser import Denoises
from genmix.families.diffusion.gaussian_kernel import Event


class Diffusion(nnx.Module):
    """p(x): noise at the level gamma(1), from which a denoiser works down to gamma(0) and x.

    log p(x) >= E log p(x | z_0) - KL(q(z_1 | x) || N(0, I)) - diffusion loss, with

        diffusion loss = 1/2 integral over t of gamma'(t) E |noise - predicted noise|^2.

    One time makes an unbiased estimate of this bound (`log_bound`), which is no log-weight: its
    exponential is biased. `DiffusionChain` has a log-weight, and `ProbabilityFlow` a density.

    Args:
        denoiser: such as `Denoiser(network)`; events should have about unit variance for it.
        shape: of an event.
        schedule: t in [0, 1] -> gamma, rising.
        decoder: from z_0 to x, such as `Levels(2)` for bits; by default real events.
        num_steps: of the sampler, which is ancestral.

    Raises:
        ValueError: if num_steps < 1.

    Source: Kingma et al. (2021), Variational diffusion models, arXiv:2107.00630.
    """

    def __init__(
        self,
        denoiser: Denoises,
        *,
        shape: Sequence[int],
        schedule: Any,
        decoder: Decoder | None = None,
        num_steps: int = 250,
    ):
        if num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {num_steps}.")
        self.denoiser, self.schedule, self.num_steps = denoiser, schedule, num_steps
        self.shape = tuple(shape)
        self.decoder = Continuous() if decoder is None else decoder

    def log_bound(
        self, key: Key[Array, ""], x: Shaped[Array, "..."], cond: PyTree = None
    ) -> Float[Array, ""]:
        """Unbiased estimate of the bound at x by one time, in nats."""
        time_key, key = jax.random.split(key)
        return self.log_bound_at(key, jax.random.uniform(time_key), x, cond)

    def log_bound_at(
        self,
        key: Key[Array, ""],
        t: Float[Array, ""],
        x: Shaped[Array, "..."],
        cond: PyTree = None,
    ) -> Float[Array, ""]:
        """`log_bound` at the time t, so that a batch may spread its times; NaN outside [0, 1]."""
        end_key, noise_key = jax.random.split(key)
        noise = jax.random.normal(noise_key, self.shape, self.encode(x).dtype)
        value = self.log_ends(end_key, x, cond) - self.loss_at(noise, t, x, cond)
        return jnp.where((t >= 0) & (t <= 1), value, jnp.nan)

    def loss_at(
        self, noise: Event, t: Float[Array, ""], x: Shaped[Array, "..."], cond: PyTree = None
    ) -> Float[Array, ""]:
        """What is integrated over t in the diffusion loss, for one noise, in nats."""
        gamma, slope = jax.jvp(self.schedule, (t,), (jnp.ones_like(t),))
        predicted = self.denoiser(kernel.diffuse(self.encode(x), noise, gamma), gamma, cond).noise
        return 0.5 * slope * jnp.sum((noise - predicted) ** 2)

    def log_ends(
        self, key: Key[Array, ""], x: Shaped[Array, "..."], cond: PyTree = None
    ) -> Float[Array, ""]:
        """log p(x | z_0) - KL(q(z_1 | x) || N(0, I)) for one z_0 of q, in nats."""
        event, gamma = self.encode(x), self.schedule(jnp.zeros(()))
        z = kernel.diffuse(event, jax.random.normal(key, self.shape, event.dtype), gamma)
        return self.log_decoder(x, z, cond) - self.log_end_kl(x)

    def log_end_kl(self, x: Shaped[Array, "..."]) -> Float[Array, ""]:
        """KL(q(z_1 | x) || N(0, I)), in nats."""
        gamma, event = self.schedule(jnp.ones(())), self.encode(x)
        zero = jnp.zeros((), event.dtype)
        return jnp.sum(normal.kl(kernel.alpha(gamma) * event, kernel.sigma(gamma), zero, zero + 1))

    def log_decoder(
        self, x: Shaped[Array, "..."], z: Event, cond: PyTree = None
    ) -> Float[Array, ""]:
        """log p(x | z_0), in nats."""
        gamma = self.schedule(jnp.zeros(()))
        return self.decoder.log_prob(x, z, gamma, lambda z, g: self.denoiser(z, g, cond).data)

    def encode(self, x: Shaped[Array, "..."]) -> Event:
        """What noise is added to."""
        if x.shape != self.shape:
            raise ValueError(
                f"The diffusion expects one event of shape {self.shape}, got {x.shape}; for a "
                "batch use jax.vmap."
            )
        return self.decoder.encode(x)

    def decode(self, key: Key[Array, ""], z: Event, cond: PyTree = None) -> Event:
        """Draw x given z_0."""
        gamma = self.schedule(jnp.zeros(()))
        return self.decoder.sample(key, z, gamma, lambda z, g: self.denoiser(z, g, cond).data)

    def levels(self, times: Float[Array, " n"]) -> Float[Array, " n"]:
        """gamma at each of the times."""
        return jax.vmap(self.schedule)(times)

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Event:
        """Draw an event by `num_steps` ancestral steps."""
        gammas = self.levels(jnp.linspace(0, 1, self.num_steps + 1))
        return reversal.sample(key, self, gammas, ddim.step, cond)


def antithetic_times(key: Key[Array, ""], num_times: int) -> Float[Array, " n"]:
    """Times spread evenly over [0, 1), all moved by one uniform draw.

    Source: Kingma et al. (2021), arXiv:2107.00630, appendix I.1.
    """
    return (jax.random.uniform(key) + jnp.arange(num_times) / num_times) % 1.0
