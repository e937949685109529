"""Independent Metropolis-Hastings: proposals from one distribution, such as a flow."""

import dataclasses
from types import MethodType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from genmix import capabilities
from genmix.mcmc import metropolis_hastings, target
from genmix.mcmc.metropolis_hastings import Info
from genmix.mcmc.record import record


class State(NamedTuple):
    """Where a chain is, with the proposal's log-density there."""

    position: Any
    logdensity: Array  # ()
    log_proposal: Array  # ()


@record
@dataclasses.dataclass(frozen=True)
class Kernel:
    """See `build`."""

    logdensity_fn: Any
    draw: Any
    log_prob: Any

    def init(self, position: PyTree) -> State:
        position = target.as_position(position, real=False)
        return self._state(position, self.log_prob(position))

    def step(self, key: Key[Array, ""], state: State) -> tuple[State, Info]:
        proposal_key, accept_key = jax.random.split(key)
        position, log_proposal = self.draw(proposal_key)
        position = target.in_precision_of(state.position, position)
        new = self._state(position, jnp.asarray(log_proposal, state.log_proposal.dtype))
        log_ratio = new.logdensity - state.logdensity + state.log_proposal - new.log_proposal
        uniform = jax.random.uniform(accept_key)
        moved, info = metropolis_hastings.accept(uniform, log_ratio, new, state)
        # Where the proposal never goes, q(old) = 0 and no move would ever be accepted.
        is_stuck = ~jnp.isfinite(state.log_proposal)
        return moved, info._replace(is_invalid=info.is_invalid | is_stuck)

    def _state(self, position: PyTree, log_proposal: Array) -> State:
        return State(position, target.value(self.logdensity_fn, position), log_proposal)


def build(logdensity_fn: target.LogDensity, proposal: Any) -> Kernel:
    """Metropolis-Hastings with proposals that do not depend on where the chain is.

    Args:
        proposal: any object with `sample(key)` and `log_prob(x)`; with `sample_and_log_prob(key)`
            a draw need not be inverted. If it is a pytree, as parts are, its arrays are leaves of
            the kernel.

    Raises:
        TypeError: if the proposal lacks one of the two, naming it.

    Source: Tierney (1994), Annals of Statistics 22(4), section 2.3.3.
    """
    for name in ("sample", "log_prob"):
        if not callable(getattr(proposal, name, None)):
            raise TypeError(
                f"{type(proposal).__name__} cannot propose: it has no {name}, and the acceptance "
                "ratio needs draws and their exact density."
            )
    return Kernel(
        target.as_pytree(logdensity_fn),
        target.as_pytree(MethodType(capabilities.draw, proposal)),
        target.as_pytree(proposal.log_prob),
    )
