"""A stationary normal sequence as a part: the prior that no independent posterior can be."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.densities import normal

Event = Float[Array, "steps *shape"]


class AutoregressiveNormal(nnx.Module):
    """z_1 ~ N(0, 1), z_t ~ N(a z_{t-1}, 1 - a^2), for each entry of z_t: every z_t is N(0, 1).

    A posterior whose steps are independent given x, such as `Normal`, pays at least
    `committed_rate` whatever it says, so that saying something costs less than it would: a
    delta-VAE. A posterior that is autoregressive itself pays nothing.

    Args:
        shape: of the event, its steps first.
        correlation: a, between one step and the next.

    Raises:
        ValueError: if the shape has no steps, or the correlation is not in (-1, 1).

    Source: Razavi et al. (2019), arXiv:1901.03416, section 3.1 and appendix A.
    """

    def __init__(self, shape: int | Sequence[int], *, correlation: float):
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        if min(self.shape, default=0) < 1:
            raise ValueError(f"AutoregressiveNormal needs steps, got shape {self.shape}.")
        if not -1 < correlation < 1:
            raise ValueError(f"correlation must be between -1 and 1, got {correlation}.")
        self.correlation = correlation

    @property
    def committed_rate(self) -> float:
        """Least KL, in nats, of a normal posterior with independent entries.

        Its variance is then 1 - a^2 at the ends, and (1 - a^2) / (1 + a^2) between them.
        """
        steps, square = self.shape[0], self.correlation**2
        if steps == 1:
            return 0.0
        each = 0.5 * ((steps - 2) * math.log1p(square) - math.log1p(-square))
        return math.prod(self.shape[1:]) * each

    def log_prob(self, x: Event, cond: PyTree = None) -> Float[Array, ""]:
        """Log-density, in nats."""
        del cond
        if x.shape != self.shape:
            raise ValueError(
                f"AutoregressiveNormal expects one event of shape {self.shape}, got {x.shape}."
            )
        a = self.correlation
        steps = normal.log_prob(x[1:], a * x[:-1], math.sqrt(1 - a**2))
        return jnp.sum(normal.log_prob(x[0], 0.0, 1.0)) + jnp.sum(steps)

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Event:
        del cond
        a = self.correlation
        noise = jax.random.normal(key, self.shape)
        scale = jnp.full(self.shape[0], math.sqrt(1 - a**2)).at[0].set(1.0)

        def step(z: Array, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
            scale, noise = inputs
            z = a * z + scale * noise
            return z, z

        return jax.lax.scan(step, jnp.zeros(self.shape[1:]), (scale, noise))[1]
