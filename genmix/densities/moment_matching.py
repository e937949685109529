"""Moment matching by gradient: maximum likelihood where no formula leads from mu to theta.

The gradient of the mean log-likelihood <theta, mu> - A(theta) is mu - E_theta[T(x)]: all that it
takes is an expectation, exact or by Monte Carlo.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key, PyTree

from genmix.densities.exponential_family import ExponentialFamily


@runtime_checkable
class Expectation(Protocol):
    """(key, theta, carry) -> an estimate of E_theta[T(x)], and the carry, such as Markov chains."""

    def __call__(
        self, key: Key[Array, ""], natural: PyTree, carry: PyTree, /
    ) -> tuple[PyTree, PyTree]: ...


class Match(NamedTuple):
    """Where the ascent ended.

    Attributes:
        natural: the last theta.
        average: the mean of theta over the last half of the steps, which is less noisy.
        gap: |mu - E[T]|, Euclidean, at each step.
        carry: of the expectation.
    """

    natural: Any
    average: Any
    gap: Float[Array, " steps"]
    carry: Any


def exact(family: ExponentialFamily) -> Expectation:
    """E[T(x)] = grad A(theta)."""
    return lambda key, natural, carry: (family.mean_from_natural(natural), carry)


def monte_carlo(family: ExponentialFamily, num_samples: int) -> Expectation:
    """The mean of T over independent draws.

    Raises:
        ValueError: if num_samples < 1.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}.")

    def expectation(key, natural, carry):
        keys = jax.random.split(key, num_samples)
        x = jax.vmap(family.sample, (0, None))(keys, natural)
        return family.average_statistics(x), carry

    return expectation


def match(
    key: Key[Array, ""],
    mean: PyTree,
    start: PyTree,
    expectation: Expectation,
    step_sizes: Float[ArrayLike, " steps"],
    carry: PyTree = (),
) -> Match:
    """Gradient ascent of <theta, mean> - A(theta) from `start`, a step for each step size.

    The function is concave: with exact expectations any step size below 2 / (largest eigenvalue of
    the covariance of T) converges. With noisy ones let the sizes fall, such as c / sqrt(t), and use
    the average. A step out of the domain of theta makes everything after it NaN.

    Args:
        expectation: `exact`, `monte_carlo`, or any other, such as of Markov chains whose positions
            stay in the carry.

    Raises:
        ValueError: if step_sizes is not a vector, or `mean` and `start` differ in structure.

    Source: Wainwright & Jordan (2008), section 3.6; for Markov chains, Younes (1988), Estimation
    and annealing for Gibbsian fields.
    """
    sizes = jnp.asarray(step_sizes)
    if sizes.ndim != 1 or not len(sizes):
        raise ValueError(f"step_sizes must hold a number for each step, got shape {sizes.shape}.")
    if jax.tree.structure(mean) != jax.tree.structure(start):
        raise ValueError(
            f"mean and start must have one structure, got {jax.tree.structure(mean)} and "
            f"{jax.tree.structure(start)}."
        )

    def step(loop, inputs):
        natural, average, carry = loop
        key, size, number = inputs
        expected, carry = expectation(key, natural, carry)
        gap = jax.tree.map(jnp.subtract, mean, expected)
        natural = jax.tree.map(lambda theta, g: theta + size * g, natural, gap)
        average = jax.tree.map(lambda m, theta: m + (theta - m) / number, average, natural)
        norm = jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(gap)))
        return (natural, average, carry), norm

    start = jax.tree.map(jnp.asarray, start)
    first_averaged = len(sizes) // 2
    numbers = jnp.maximum(jnp.arange(len(sizes)) - first_averaged + 1, 1).astype(sizes.dtype)
    inputs = jax.random.split(key, len(sizes)), sizes, numbers
    (natural, average, carry), gaps = jax.lax.scan(step, (start, start, carry), inputs)
    return Match(natural, average, gaps, carry)
