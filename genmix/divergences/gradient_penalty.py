"""Penalties on the gradient of a critic with respect to the event that it judges."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

Critic = Callable[[Any], Float[Array, ""]]
"""Event (an array, or a pytree of arrays such as a pair) -> score."""


def squared_norms(critic: Critic, events: PyTree) -> Float[Array, " n"]:
    """|grad critic|^2 at each event of a batch, over all entries of the event.

    The batch is the axis named "batch"; of a critic that looks at it, as at the deviation of a
    group, it is the gradient of the sum of all scores.
    """
    total = lambda events: jnp.sum(jax.vmap(critic, axis_name="batch")(events))
    gradients = jax.tree.leaves(jax.grad(total)(events))
    squares = [jnp.sum(g.reshape(len(g), -1) ** 2, axis=1) for g in gradients]
    return jnp.sum(jnp.stack(squares), axis=0)


def between(key: Key[Array, ""], real: PyTree, fake: PyTree) -> PyTree:
    """For each pair of a real and a fake event, a point drawn uniformly on the line between them.

    Raises:
        ValueError: if real and fake differ in shape.
    """
    if (shapes := jax.tree.map(jnp.shape, real)) != (others := jax.tree.map(jnp.shape, fake)):
        raise ValueError(f"real and fake must have the same shapes, got {shapes} and {others}.")
    position = jax.random.uniform(key, (len(jax.tree.leaves(real)[0]),))

    def mix(a: Array, b: Array) -> Array:
        weight = position.reshape(-1, *[1] * (a.ndim - 1)).astype(a.dtype)
        return weight * a + (1 - weight) * b

    return jax.tree.map(mix, real, fake)


def wgan_gp(key: Key[Array, ""], critic: Critic, real: PyTree, fake: PyTree) -> Float[Array, ""]:
    """Mean of (|grad critic| - 1)^2 between pairs of a real and a fake event.

    With weight w the critic's slope may exceed 1 by about W_1 / (2 w), and its estimate of W_1
    is too large by that fraction.

    Raises:
        ValueError: if real and fake differ in shape.
    Source: Gulrajani et al. (2017), arXiv:1704.00028, equation 3.
    """
    return jnp.mean((_norms(critic, between(key, real, fake)) - 1) ** 2)


def wgan_lp(key: Key[Array, ""], critic: Critic, real: PyTree, fake: PyTree) -> Float[Array, ""]:
    """Mean of max(|grad critic| - 1, 0)^2: slopes below 1 cost nothing.

    Where `wgan_gp` is used on few dimensions, a critic that starts with a slope of the wrong sign
    keeps it, since 0 lies between and is penalized; here it does not.

    Raises:
        ValueError: if real and fake differ in shape.
    Source: Petzka, Fischer & Lukovnikov (2018), arXiv:1709.08894, equation 8.
    """
    return jnp.mean(jax.nn.relu(_norms(critic, between(key, real, fake)) - 1) ** 2)


def _norms(critic: Critic, events: PyTree) -> Float[Array, " n"]:
    squares = squared_norms(critic, events)
    is_zero = squares == 0  # the square root has no gradient there
    return jnp.where(is_zero, 0.0, jnp.sqrt(jnp.where(is_zero, 1.0, squares)))


def r1(critic: Critic, real: PyTree) -> Float[Array, ""]:
    """Half the mean of |grad critic|^2 at real events.

    Source: Mescheder, Geiger & Nowozin (2018), arXiv:1801.04406, equation 9.
    """
    return 0.5 * jnp.mean(squared_norms(critic, real))
