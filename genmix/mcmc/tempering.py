"""Parallel tempering: chains at several temperatures, which exchange their positions."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from genmix.mcmc import bridge, target
from genmix.mcmc.record import record


class State(NamedTuple):
    """Where the replicas are, the coldest (the target's) last."""

    position: Any  # [t, ...]
    logdensity: Array  # () of all replicas together


class Info(NamedTuple):
    """Diagnostics of one transition, all scalars."""

    acceptance_rate: Array  # mean of the replicas' kernel
    swap_rate: Array  # mean of the exchanges tried
    is_divergent: Array  # one of the replicas' kernels said so
    is_invalid: Array  # a replica was where its log-density is not finite


@record
@dataclasses.dataclass(frozen=True)
class Kernel:
    """See `build`."""

    log_base: Any
    log_target: Any
    inverse_temperatures: Any
    make_kernel: Any

    def init(self, position: PyTree) -> State:
        position = target.as_position(position, real=False)
        lengths = {leaf.shape[:1] for leaf in jax.tree.leaves(position)}
        if lengths != {self.inverse_temperatures.shape}:
            raise ValueError(
                "position must hold one replica for each of the "
                f"{self.inverse_temperatures.size} temperatures along the first axes, got "
                f"{sorted(lengths)}."
            )
        return State(position, jnp.sum(self._values(position)))

    def step(self, key: Key[Array, ""], state: State) -> tuple[State, Info]:
        step_key, swap_key = jax.random.split(key)
        keys = jax.random.split(step_key, self.inverse_temperatures.size)
        position, info = jax.vmap(self._step_replica)(
            keys, state.position, self.inverse_temperatures
        )
        position, swap_rate = self._swap(swap_key, position)
        new = State(position, jnp.sum(self._values(position)))
        info = Info(
            jnp.mean(info.acceptance_rate),
            swap_rate,
            jnp.any(info.is_divergent),
            ~jnp.isfinite(state.logdensity),
        )
        return new, info

    def _step_replica(self, key: Array, position: PyTree, beta: Array) -> tuple[PyTree, Any]:
        kernel = self.make_kernel(bridge.logdensity(self.log_base, self.log_target, beta), beta)
        state, info = kernel.step(key, kernel.init(position))
        return state.position, info

    def _values(self, position: PyTree) -> Array:
        def value(position, beta):
            return bridge.logdensity(self.log_base, self.log_target, beta)(position)

        return jax.vmap(value)(position, self.inverse_temperatures)

    def _swap(self, key: Array, position: PyTree) -> tuple[PyTree, Array]:
        """Exchange neighbours (k, k + 1), for all even k or all odd k, as a coin decides."""
        coin_key, accept_key = jax.random.split(key)
        betas = self.inverse_temperatures
        num = betas.size
        ratio = jax.vmap(lambda x: bridge.log_ratio(self.log_base, self.log_target, x))(position)
        log_accept = (betas[1:] - betas[:-1]) * (ratio[:-1] - ratio[1:])
        log_accept = jnp.where(jnp.isnan(log_accept), -jnp.inf, log_accept)
        is_tried = jnp.arange(num - 1) % 2 == jax.random.bernoulli(coin_key).astype(int)
        is_tried |= num == 2  # with one pair both coins mean that pair
        uniform = jax.random.uniform(accept_key, (num - 1,))
        is_swapped = is_tried & (jnp.log(uniform) < log_accept)
        no = jnp.zeros(1, bool)
        order = jnp.arange(num)
        order += jnp.concatenate([is_swapped, no]).astype(int)  # takes its upper neighbour's
        order -= jnp.concatenate([no, is_swapped]).astype(int)
        rate = jnp.exp(jnp.minimum(log_accept, 0.0))
        mean_rate = jnp.sum(jnp.where(is_tried, rate, 0.0)) / jnp.sum(is_tried)
        return jax.tree.map(lambda a: a[order], position), mean_rate


def build(
    log_base: target.LogDensity,
    log_target: target.LogDensity,
    make_kernel: bridge.MakeKernel,
    inverse_temperatures: bridge.Schedule,
) -> Kernel:
    """Parallel tempering of base^(1 - beta) target^beta, at each inverse temperature beta.

    A position is a stack of replicas [t, ...]; the last one's marginal is the target. A base of
    `lambda x: 0.0` gives the powers of the target.

    Args:
        inverse_temperatures: rising to 1, from 0 or more.
        make_kernel: (logdensity_fn, beta) -> kernel, which may take larger steps at small beta.

    Raises:
        ValueError: if the temperatures do not rise to 1.

    Source: Geyer (1991), Markov chain Monte Carlo maximum likelihood, section 4.
    """
    betas = bridge.check_schedule(inverse_temperatures, first=False)
    functions = target.as_pytree(log_base), target.as_pytree(log_target)
    return Kernel(*functions, betas, target.as_pytree(make_kernel))
