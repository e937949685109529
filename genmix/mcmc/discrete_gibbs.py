"""Gibbs sampling of discrete variables, whose conditionals are enumerated from the log-density."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from genmix.mcmc import target
from genmix.mcmc.engine import noise
from genmix.mcmc.engine.noise import Noise
from genmix.mcmc.metropolis_hastings import Info, State
from genmix.mcmc.record import record


@record
@dataclasses.dataclass(frozen=True)
class Kernel:
    """See `build`."""

    logdensity_fn: Any
    num_states: int = dataclasses.field(metadata={"static": True})

    def init(self, position: Array) -> State:
        position = jnp.asarray(position)
        if position.ndim != 1:
            raise ValueError(f"position must have shape [d], got {list(position.shape)}.")
        return State(position, target.value(self.logdensity_fn, position))

    def noise(self, state: State) -> Noise:
        shape = state.position.shape
        return Noise(uniform=jax.ShapeDtypeStruct(shape, jnp.result_type(float)))

    def move(self, noise: Noise, state: State) -> tuple[State, Info]:
        invalid = ~jnp.isfinite(state.logdensity)

        def update(site, carry):
            state, is_divergent = carry
            new, is_nan = self.update(noise.uniform[site], site, state)
            return new, is_divergent | is_nan

        carry = state, jnp.zeros((), bool)
        state, is_divergent = jax.lax.fori_loop(0, state.position.size, update, carry)
        one, no = jnp.ones((), state.logdensity.dtype), jnp.zeros((), bool)
        return state, Info(one, ~no, is_divergent, no, invalid)

    def update(self, uniform: Array, site: int | Array, state: State) -> tuple[State, Array]:
        """Draw one variable given the others; whether a value of it had a NaN log-density.

        Such a value is never drawn; if no value has a density, the variable stays.
        """
        values = jnp.arange(self.num_states, dtype=state.position.dtype)
        positions = jax.vmap(lambda v: state.position.at[site].set(v))(values)
        logits = jax.vmap(lambda x: target.value(self.logdensity_fn, x))(positions)
        is_bad = jnp.isnan(logits) | (logits == jnp.inf)
        logits = jnp.where(is_bad, -jnp.inf, logits)
        top = jnp.max(logits)
        weights = jnp.exp(logits - jnp.where(jnp.isfinite(top), top, 0.0))
        cumulative = jnp.cumsum(weights)
        chosen = jnp.sum(cumulative <= uniform * cumulative[-1])
        has_any = top > -jnp.inf
        new = State(positions[chosen], logits[chosen])
        new = jax.tree.map(lambda n, o: jnp.where(has_any, n, o), new, state)
        return new, jnp.any(is_bad)

    def step(self, key: Key[Array, ""], state: State) -> tuple[State, Info]:
        return self.move(noise.draw(key, self.noise(state)), state)


def build(logdensity_fn: target.LogDensity, num_states: int) -> Kernel:
    """Gibbs sampling of a vector of d variables with values 0 to num_states - 1, in order.

    One step draws each variable once and takes d * num_states evaluations.

    Raises:
        ValueError: if num_states < 2.
    """
    if num_states < 2:
        raise ValueError(f"num_states must be at least 2, got {num_states}.")
    return Kernel(target.as_pytree(logdensity_fn), num_states)
