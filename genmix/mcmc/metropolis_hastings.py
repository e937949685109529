"""Metropolis-Hastings with any proposal, and the acceptance step that other kernels share."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from genmix.mcmc import target
from genmix.mcmc.record import record


class State(NamedTuple):
    """Where a chain is."""

    position: Any
    logdensity: Array  # ()


class Info(NamedTuple):
    """Diagnostics of one transition, all scalars."""

    acceptance_rate: Array  # probability with which this proposal is accepted
    is_accepted: Array
    is_divergent: Array  # the proposal's log-density or the ratio was NaN or +inf; rejected
    is_off_support: Array  # the proposal had density zero; rejected
    is_invalid: Array  # the chain was where the log-density is not finite


AnyState = TypeVar("AnyState")


def accept(uniform: Array, log_ratio: Array, new: AnyState, old: AnyState) -> tuple[AnyState, Info]:
    """Move from the old state to the new one with probability min(1, exp(log_ratio)).

    A chain off the support moves to whatever has a density. One at a NaN never moves; like a start
    off the support, its `info.is_invalid` says so.

    Args:
        log_ratio: log of pi(new) q(old | new) / (pi(old) q(new | old)).
        new: a state with a field `logdensity`, as `old`.
    """
    new_value, old_value = _logdensity(new), _logdensity(old)
    is_off_support = new_value == -jnp.inf
    is_divergent = (jnp.isnan(log_ratio) | (new_value == jnp.inf)) & ~is_off_support
    log_ratio = jnp.where(is_divergent | is_off_support, -jnp.inf, log_ratio)
    rate = jnp.exp(jnp.minimum(log_ratio, 0.0))
    is_accepted = uniform < rate
    state = jax.tree.map(lambda n, o: jnp.where(is_accepted, n, o), new, old)
    invalid = ~jnp.isfinite(old_value)
    return state, Info(rate, is_accepted, is_divergent, is_off_support, invalid)


def _logdensity(state: Any) -> Array:
    return state.logdensity


@record
@dataclasses.dataclass(frozen=True)
class Kernel:
    """See `build`."""

    logdensity_fn: Any
    sample: Any
    log_prob: Any  # None for a symmetric proposal

    def init(self, position: PyTree) -> State:
        position = target.as_position(position, real=False)
        return State(position, target.value(self.logdensity_fn, position))

    def step(self, key: Key[Array, ""], state: State) -> tuple[State, Info]:
        proposal_key, accept_key = jax.random.split(key)
        proposal = self.sample(proposal_key, state.position)
        new = self.init(target.in_precision_of(state.position, proposal))
        log_ratio = new.logdensity - state.logdensity
        if self.log_prob is not None:
            back = self.log_prob(state.position, new.position)
            log_ratio += back - self.log_prob(new.position, state.position)
        return accept(jax.random.uniform(accept_key), log_ratio, new, state)


def build(
    logdensity_fn: target.LogDensity,
    sample: Callable[..., Any],
    log_prob: Callable[..., Any] | None = None,
) -> Kernel:
    """Metropolis-Hastings with a proposal q(new | old), which a conditional part has the form of.

    Args:
        sample: (key, old) -> new.
        log_prob: (new, old) -> log q(new | old), in nats; None promises that q is symmetric.

    Source: Hastings (1970), Biometrika 57(1), equation 2.4 ff.
    """
    functions = [None if f is None else target.as_pytree(f) for f in (sample, log_prob)]
    return Kernel(target.as_pytree(logdensity_fn), *functions)
