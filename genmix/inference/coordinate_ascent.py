"""Mean-field variational Bayes by coordinate ascent: each factor in turn takes its best value.

For conjugate models the best q_i given the others is known, q_i(z_i) ~ exp(E_{-i} log p(x, z)), so
the bound never falls; `normal_gamma`, `bayesian_regression` and `bayesian_mixture` are such models.

Source: Bishop (2006), Pattern Recognition and Machine Learning, section 10.1.1; Blei, Kucukelbir &
McAuliffe (2017), arXiv:1601.00670, section 2.4.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree


@runtime_checkable
class Conjugate(Protocol):
    """A model with its data, and the factors of q as any pytree."""

    def sweep(self, factors: PyTree) -> PyTree:
        """The factors after each took its best value, in turn."""
        ...

    def bound(self, factors: PyTree) -> Float[Array, ""]:
        """E_q[log p(x, z) - log q(z)] <= log p(x), in nats, of all data."""
        ...


class Ascent(NamedTuple):
    """Where coordinate ascent ended.

    Attributes:
        factors: of q.
        bound: lower bound on log p(x), in nats.
        num_sweeps: that were taken.
        converged: whether a sweep raised the bound by less than the tolerance.
        history: the bound before each sweep; NaN from num_sweeps on.
    """

    factors: PyTree
    bound: Float[Array, ""]
    num_sweeps: Int[Array, ""]
    converged: Bool[Array, ""]
    history: Float[Array, " max_sweeps"]


def ascend(
    model: Conjugate, factors: PyTree, *, max_sweeps: int = 500, tolerance: float = 1e-6
) -> Ascent:
    """Sweep from the factors given until the bound rises by less than `tolerance` nats.

    One `lax.while_loop`, to be put under `jax.jit`. A bound that is NaN ends the loop.

    Raises:
        ValueError: if max_sweeps < 1 or the tolerance is negative.
    """
    if max_sweeps < 1:
        raise ValueError(f"max_sweeps must be at least 1, got {max_sweeps}.")
    if tolerance < 0:
        raise ValueError(f"tolerance must not be negative, got {tolerance}.")

    def unfinished(loop):
        _, _, _, count, gain = loop
        return (gain >= tolerance) & (count < max_sweeps)

    def improve(loop):
        current, bound, history, count, _ = loop
        better = model.sweep(current)
        new = model.bound(better)
        return better, new, history.at[count].set(bound), count + 1, new - bound

    bound = model.bound(factors)
    history = jnp.full(max_sweeps, jnp.nan, bound.dtype)
    start = (factors, bound, history, jnp.asarray(0), jnp.asarray(jnp.inf, bound.dtype))
    factors, bound, history, count, gain = lax.while_loop(unfinished, improve, start)
    return Ascent(factors, bound, count, gain < tolerance, history)
