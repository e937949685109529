"""The last step of a diffusion: from an event with the smallest noise to the event itself.

A decoder says what an event is to the diffusion (`encode`), and what it is likely to have been
given the noisy one (`log_prob`, `sample`).
"""

import dataclasses
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Shaped

from genmix.densities import normal
from genmix.densities.discretized_logistic import is_outside
from genmix.families.diffusion import gaussian_kernel as kernel
from genmix.families.diffusion.gaussian_kernel import Event, Level

DataOf = Callable[[Event, Level], Event]
"""(z, gamma) -> the denoised event."""


@runtime_checkable
class Decoder(Protocol):
    """p(x | z_0), given z_0, its level of noise, and what a denoiser says of it when called."""

    def encode(self, x: Shaped[Array, "..."]) -> Event: ...

    def log_prob(
        self, x: Shaped[Array, "..."], z: Event, gamma: Level, data_of: DataOf
    ) -> Float[Array, ""]: ...

    def sample(self, key: Key[Array, ""], z: Event, gamma: Level, data_of: DataOf) -> Event: ...


@dataclasses.dataclass(frozen=True)
class Continuous:
    """Real events: p(x | z_0) = N(denoised z_0, sigma_0^2).

    For data of N(0, I) and the right denoiser this is the exact p(x | z_0).
    """

    def encode(self, x: Event) -> Event:
        return x

    def log_prob(self, x: Event, z: Event, gamma: Level, data_of: DataOf) -> Float[Array, ""]:
        return jnp.sum(normal.log_prob(x, data_of(z, gamma), kernel.sigma(gamma)))

    def sample(self, key: Key[Array, ""], z: Event, gamma: Level, data_of: DataOf) -> Event:
        return normal.sample(key, data_of(z, gamma), kernel.sigma(gamma))


@dataclasses.dataclass(frozen=True)
class Levels:
    """Events of levels 0 .. num_levels - 1, spread evenly over [-1, 1] for the diffusion.

    P(x_i | z_0) is in proportion to q(z_0i | x_i): it needs no network, and is exact where the
    noise is small against the distance of two levels.

    Raises:
        ValueError: if num_levels < 2.

    Source: Kingma et al. (2021), arXiv:2107.00630, equation 8.
    """

    num_levels: int

    def __post_init__(self):
        if self.num_levels < 2:
            raise ValueError(f"num_levels must be at least 2, got {self.num_levels}.")

    def encode(self, x: Shaped[Array, "..."]) -> Event:
        level = jnp.asarray(x, jnp.result_type(x, float))
        return 2 * level / (self.num_levels - 1) - 1

    def _logits(self, z: Event, gamma: Level) -> Float[Array, "... levels"]:
        places = self.encode(jnp.arange(self.num_levels)).astype(z.dtype)
        away = z[..., None] / kernel.alpha(gamma) - places.reshape((1,) * z.ndim + (-1,))
        return jax.nn.log_softmax(-0.5 * jnp.exp(-gamma) * away**2)

    def log_prob(
        self, x: Shaped[Array, "..."], z: Event, gamma: Level, data_of: DataOf
    ) -> Float[Array, ""]:
        del data_of
        level = jnp.asarray(x, jnp.result_type(x, float))
        outside = is_outside(level, self.num_levels)
        index = jnp.where(outside | jnp.isnan(level), 0, level).astype(int)[..., None]
        value = jnp.sum(jnp.take_along_axis(self._logits(z, gamma), index, axis=-1))
        value = jnp.where(jnp.any(jnp.isnan(level)), jnp.nan, value)
        return jnp.where(jnp.any(outside) & ~jnp.isnan(value), -jnp.inf, value)

    def sample(self, key: Key[Array, ""], z: Event, gamma: Level, data_of: DataOf) -> Event:
        del data_of
        return jax.random.categorical(key, self._logits(z, gamma)).astype(z.dtype)
