"""Paths of densities from a base to a target, such as base^(1 - beta) target^beta."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Key, PyTree

from genmix.mcmc import target
from genmix.mcmc.kernel import Kernel

MakeKernel = Callable[[target.LogDensity, Array], Kernel[Any]]
"""(log-density of a bridge, its inverse temperature beta) -> a kernel that leaves it invariant."""


Schedule = Float[Array, "_"] | Float[np.ndarray, "_"] | Sequence[float]
"""Inverse temperatures, rising to 1."""


def logdensity(
    log_base: target.LogDensity, log_target: target.LogDensity, beta: Float[ArrayLike, ""]
) -> target.LogDensity:
    """The bridge's log-density, not normalized, in nats."""

    def bridge(position: PyTree) -> Array:
        base, end = target.value(log_base, position), target.value(log_target, position)
        # 0 * -inf would be NaN.
        between = jnp.where(beta == 1, end, (1 - beta) * base + beta * end)
        return jnp.where(beta == 0, base, between)

    return bridge


def log_ratio(
    log_base: target.LogDensity, log_target: target.LogDensity, position: PyTree
) -> Float[Array, ""]:
    """Log of target over base; -inf off the target's support. Times a step of beta, a weight."""
    base, end = target.value(log_base, position), target.value(log_target, position)
    return jnp.where(end == -jnp.inf, -jnp.inf, end - base)


@runtime_checkable
class Path(Protocol):
    """Densities f_beta, f_0 that of a base, normalized, and f_1 the target."""

    def sample(self, key: Key[Array, ""]) -> PyTree:
        """A draw from the base."""
        ...

    def log_ratio(self, position: PyTree, /, beta: Array, next_beta: Array) -> Float[Array, ""]:
        """Log of f_next_beta over f_beta at a position, in nats."""
        ...

    def kernel(self, beta: Array) -> Kernel[Any]:
        """One that leaves f_beta invariant."""
        ...


@runtime_checkable
class Base(Protocol):
    """Draws, and knows its normalized density in nats: a part of no condition, or any other."""

    def sample(self, key: Key[Array, ""], /) -> PyTree: ...

    def log_prob(self, x: PyTree, /) -> Float[Array, ""]: ...


class Geometric(NamedTuple):
    """f_beta = base^(1 - beta) target^beta."""

    base: Base
    log_target: target.LogDensity
    make_kernel: MakeKernel

    def sample(self, key: Key[Array, ""]) -> PyTree:
        return jax.tree.map(jnp.asarray, self.base.sample(key))

    def log_ratio(self, position: PyTree, beta: Array, next_beta: Array) -> Float[Array, ""]:
        return (next_beta - beta) * log_ratio(self.base.log_prob, self.log_target, position)

    def kernel(self, beta: Array) -> Kernel[Any]:
        return self.make_kernel(logdensity(self.base.log_prob, self.log_target, beta), beta)


def check_schedule(inverse_temperatures: Schedule, *, first: bool = True) -> Array:
    """A schedule as an array, checked where it is known.

    Args:
        first: whether it must start at 0.

    Raises:
        ValueError: if it does not rise from 0 to 1, or has fewer than two entries.
    """
    if np.ndim(inverse_temperatures) != 1 or len(inverse_temperatures) < 2:
        raise ValueError(
            "inverse_temperatures must be a vector of at least two, got shape "
            f"{list(np.shape(inverse_temperatures))}."
        )
    if not isinstance(inverse_temperatures, Tracer):
        values = np.asarray(inverse_temperatures)  # what jnp returns under `jit` is not known
        is_rising = np.all(np.diff(values) > 0) and values[-1] == 1 and values[0] >= 0
        if not is_rising or (first and values[0] != 0):
            start = "0" if first else "0 or more"
            raise ValueError(
                f"inverse_temperatures must rise strictly from {start} to 1, got {values}."
            )
    return jnp.asarray(inverse_temperatures, jnp.result_type(float))


def linear(num_steps: int) -> Float[np.ndarray, " t"]:
    """Schedule of equal steps: num_steps + 1 inverse temperatures from 0 to 1."""
    return np.linspace(0.0, 1.0, num_steps + 1)


def sigmoidal(num_steps: int, *, steepness: float = 4.0) -> Float[np.ndarray, " t"]:
    """Schedule with small steps at both ends: a logistic function of equal steps, rescaled.

    Source: Grosse, Ghahramani & Adams (2015), arXiv:1511.02543, appendix.
    """
    curve = 1 / (1 + np.exp(-steepness * np.linspace(-1.0, 1.0, num_steps + 1)))
    return (curve - curve[0]) / (curve[-1] - curve[0])
