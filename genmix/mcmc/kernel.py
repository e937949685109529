"""What a kernel is, and where a chain of one ends."""

from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree


@runtime_checkable
class ChainState(Protocol):
    """What a kernel carries from step to step."""

    @property
    def position(self) -> PyTree:
        """Where the chain is."""
        ...


S = TypeVar("S", bound=ChainState)


@runtime_checkable
class Kernel(Protocol[S]):
    """One transition of a Markov chain, as BlackJAX has it.

    The info of a step is a record of diagnostics, such as `metropolis_hastings.Info`.
    """

    def init(self, position: PyTree, /) -> S: ...

    def step(self, key: Key[Array, ""], state: S, /) -> tuple[S, PyTree]: ...


@runtime_checkable
class HasChainKernel(Protocol):
    """A density that knows a kernel which leaves it invariant, such as a Boltzmann machine."""

    def chain_kernel(self) -> Kernel[Any]: ...


class End(NamedTuple):
    """Where a chain has come to."""

    position: PyTree
    acceptance_rate: Float[Array, ""]  # mean of the steps'; 1 where the kernel tells none


def run(key: Key[Array, ""], kernel: Kernel[S], position: PyTree, num_steps: int) -> End:
    """One chain, num_steps further; `mcmc.start` is for many, and for what they see on the way."""

    def step(i: Array, carry: tuple[S, Array]) -> tuple[S, Array]:
        state, total = carry
        state, info = kernel.step(jax.random.fold_in(key, i), state)
        return state, total + getattr(info, "acceptance_rate", 1.0)

    carry = kernel.init(position), jnp.zeros((), jnp.result_type(float))
    state, total = jax.lax.fori_loop(0, num_steps, step, carry)
    return End(state.position, total / num_steps)


def require_steps(num_steps: int) -> None:
    """Check the length of a chain.

    Raises:
        ValueError: if num_steps < 1.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}.")
