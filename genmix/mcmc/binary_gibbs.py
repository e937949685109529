"""Gibbs sampling of a binary pairwise model, p(x) ~ exp(x^T W x / 2 + b^T x), x in {0, 1}^d."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Key

from genmix.mcmc import target
from genmix.mcmc.engine import noise
from genmix.mcmc.engine.noise import Noise
from genmix.mcmc.gibbs import Info, State
from genmix.mcmc.record import record


@record
@dataclasses.dataclass(frozen=True)
class Kernel:
    """See `build`."""

    weights: Any
    bias: Any
    blocks: tuple[tuple[int, ...], ...] | None = dataclasses.field(metadata={"static": True})

    def init(self, position: Float[ArrayLike, "..."]) -> State:
        x: Array = target.as_position(position)
        if x.shape != self.bias.shape:
            raise ValueError(
                f"position must have shape {list(self.bias.shape)}, got {list(x.shape)}."
            )
        return State(x)

    def noise(self, state: State) -> Noise:
        return Noise(uniform=noise.like(state.position))

    def move(self, noise: Noise, state: State) -> tuple[State, Info]:
        x, uniform = state.position, noise.uniform
        if self.blocks is None:

            def update(site, x):
                return x.at[site].set(self._draw(site, uniform[site], x))

            x = jax.lax.fori_loop(0, x.size, update, x)
        else:
            for block in self.blocks:
                sites = np.array(block)
                x = x.at[sites].set(self._draw(sites, uniform[sites], x))
        is_divergent = jnp.any(jnp.isnan(x))
        return State(jnp.where(is_divergent, state.position, x)), Info(is_divergent)

    def _draw(self, sites: Any, uniform: Array, x: Array) -> Array:
        weights = self.weights[sites]
        logit = jnp.matmul(weights, x, precision=jax.lax.Precision.HIGHEST) + self.bias[sites]
        probability = jax.nn.sigmoid(logit)
        value = (uniform < probability).astype(x.dtype)
        return jnp.where(jnp.isnan(probability), jnp.nan, value)

    def step(self, key: Key[Array, ""], state: State) -> tuple[State, Info]:
        return self.move(noise.draw(key, self.noise(state)), state)


def build(
    weights: Float[ArrayLike, "d d"],
    bias: Float[ArrayLike, " d"],
    *,
    blocks: Sequence[Sequence[int]] | None = None,
) -> Kernel:
    """One step draws each variable once: one by one, or block by block.

    Positions are vectors of zeros and ones of a floating type.

    Args:
        weights: W, symmetric with a zero diagonal.
        blocks: which variables are drawn together; no two of a block may be coupled, as the layers
            of a restricted Boltzmann machine are not. Each variable is in one block.

    Raises:
        ValueError: if the weights are known and not symmetric with a zero diagonal, the blocks are
            no partition, or two variables of a block are coupled.

    Source: Ackley, Hinton & Sejnowski (1985), Cognitive Science 9(1), equation 5.
    """
    weights, bias = jnp.asarray(weights), jnp.asarray(bias)
    is_known = not isinstance(weights, Tracer)
    if is_known:
        values = np.asarray(weights)
        if not np.array_equal(values, values.T, equal_nan=True) or np.any(np.diag(values)):
            raise ValueError("weights must be a symmetric matrix with a zero diagonal.")
    if blocks is None:
        return Kernel(weights, bias, None)
    parts = tuple(tuple(int(site) for site in block) for block in blocks)
    if sorted(site for part in parts for site in part) != list(range(len(bias))):
        raise ValueError(f"blocks must hold each of the {len(bias)} variables once, got {parts}.")
    for part in parts if is_known else ():
        if np.any(np.asarray(weights)[np.ix_(part, part)]):
            raise ValueError(
                f"the variables {part} of one block are coupled by weights that are not zero: they "
                "cannot be drawn together."
            )
    return Kernel(weights, bias, parts)
