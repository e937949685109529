"""Discrete levels under a density of the continuum: the noise that fills the gaps, weighed."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree, Shaped

from genmix.bounds.log_weight import Draw, Terms
from genmix.capabilities import Proposes
from genmix.densities import discretized_logistic
from genmix.families import shapes, weigh
from genmix.families.roles import require_bounded, require_posterior

Event = Shaped[Array, "..."]


class Dequantized(nnx.Module):
    """P(x) = integral of p((x + u) / num_levels) / num_levels^dim over u in the unit cube.

    Its log-weight is log p(y) - dim log num_levels - log q(u | x) with u ~ q, in nats for the
    levels themselves: bits per dimension are -log_weight / (dim ln 2), with no other constant. A
    density on [0, 1]^dim, such as a flow that ends in `Sigmoid`, gives a distribution on the
    levels; where a density's mass lies outside, the levels lack it.

    y is rounded to the inside of x's bin, by less than the float's own resolution: x + u = x + 1
    in floats would be the next level, or off the density's support.

    Args:
        density: a part for y.
        noise: q(u | x), given the levels as `x / num_levels`, with a condition in a pair; it draws
            from [0, 1], as a flow that ends in `Sigmoid` does: draws outside weigh nothing. Without
            it u is uniform.

    Raises:
        TypeError: if density or noise lacks what it needs.
        ValueError: if num_levels < 2.

    Source: Theis, van den Oord & Bethge (2016), arXiv:1511.01844, section 3.1; Ho et al. (2019),
    arXiv:1902.00275, section 3.1.
    """

    def __init__(self, density: Any, noise: Any = None, *, num_levels: int = 256):
        require_bounded(density, "density")
        if noise is not None:
            require_posterior(noise)
            if isinstance(noise, Proposes):
                raise TypeError(
                    f"{type(noise).__name__} cannot be the noise, which is aimed at no joint "
                    "density: use a plain part, such as a flow."
                )
        if num_levels < 2:
            raise ValueError(f"num_levels must be at least 2, got {num_levels}.")
        self.density, self.noise, self.num_levels = density, noise, num_levels

    @property
    def event_shape(self) -> tuple[int, ...] | None:
        return shapes.event_shape(self.density)

    @property
    def cond_shape(self) -> tuple[int, ...] | None:
        return shapes.cond_shape(self.density)

    @property
    def is_bound(self) -> bool:
        """Whether the density of y knows a bound alone."""
        return weigh.is_bound(self.density)

    def log_weight_terms(
        self, key: Key[Array, ""], x: Event, cond: PyTree = None, draw: Draw = weigh.draw
    ) -> Terms:
        """Terms of the log-weight for one u; q(u | x) is a posterior among the others."""
        noise_key, density_key = jax.random.split(key)
        level = jax.lax.stop_gradient(x.astype(jnp.result_type(x, float)))
        outside = discretized_logistic.is_outside(level, self.num_levels)
        level = jnp.where(outside, 0, level)
        u, log_q = self._noise(noise_key, level, cond, draw)
        density = weigh.terms(self.density, density_key, self._inside(level, u), cond, draw)
        value = density.log_likelihood - level.size * math.log(self.num_levels)
        nothing = jnp.any(outside) | jnp.any((u < 0) | (u > 1))
        return Terms(
            jnp.where(nothing & ~jnp.isnan(value), -jnp.inf, value),
            jnp.concatenate([jnp.zeros_like(log_q), density.log_prior]),
            jnp.concatenate([log_q, density.log_posterior]),
        )

    def log_weight(self, key: Key[Array, ""], x: Event, cond: PyTree = None) -> Float[Array, ""]:
        """Log of an unbiased estimate of P(x | cond), in nats; -inf where x is no event of levels.

        Args:
            x: levels 0 .. num_levels - 1, of any dtype.
        """
        weigh.require_weights(self, "its log-weight")
        return self.log_weight_terms(key, x, cond).log_weight

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Event:
        """Levels, in floats; what the density draws outside [0, 1] becomes the nearest level."""
        y = jax.lax.stop_gradient(self.density.sample(key, cond))
        return jnp.clip(jnp.floor(y * self.num_levels), 0, self.num_levels - 1)

    def _noise(
        self, key: Key[Array, ""], level: Event, cond: PyTree, draw: Draw
    ) -> tuple[Event, Float[Array, " layers"]]:
        """u, and its log-density if it is drawn from a part: a uniform one has none to weigh."""
        if self.noise is None:
            return jax.random.uniform(key, level.shape, level.dtype), jnp.zeros(0, level.dtype)
        given = level / self.num_levels
        u, log_q = draw(self.noise, key, given if cond is None else (given, cond))
        if u.shape != level.shape:
            raise ValueError(
                f"The noise of an event of shape {level.shape} must have its shape, got {u.shape}."
            )
        return u, log_q[None]

    def _inside(self, level: Event, u: Event) -> Event:
        """(level + u) / num_levels, strictly between the edges of the level's bin."""
        bits_of_level = (self.num_levels - 1).bit_length()
        margin = 0.5 ** (jnp.finfo(level.dtype).nmant + 1 - bits_of_level)
        return (level + jnp.clip(u, margin, 1 - margin)) / self.num_levels
