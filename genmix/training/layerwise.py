"""Greedy training of a stack: each machine is fitted to the states of those below it."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from genmix.densities import bernoulli
from genmix.families.energy.restricted_boltzmann import RestrictedBoltzmann
from genmix.training.rounds import Transform


def upward(
    machines: Sequence[RestrictedBoltzmann], transform: Transform | None = None
) -> Transform:
    """The data of the next machine: hidden states drawn upwards through trained ones.

    For `Plan.transform`, so that each batch is drawn anew.

    Args:
        machines: from the data on; with none of them the data themselves.
        transform: of the data first, such as `data.binarize`.

    Source: Hinton, Osindero & Teh (2006), Neural Computation 18(7), section 4.
    """

    def draw(key: Key[Array, ""], batch: Float[Array, "n v"]) -> Float[Array, "n h"]:
        key, first_key = jax.random.split(key)
        x = batch if transform is None else transform(first_key, batch)
        for l, machine in enumerate(machines):
            fields = jax.vmap(machine.hidden_field)(x)
            x = bernoulli.sample(jax.random.fold_in(key, l), fields)
        return x

    return draw


def twice(transform: Transform | None = None) -> Transform:
    """Each event as two copies side by side: data of `RestrictedBoltzmann.copied(visible=2)`.

    Args:
        transform: of the data first, such as `data.binarize`.
    """

    def draw(key: Key[Array, ""], batch: Float[Array, "n v"]) -> Float[Array, "n w"]:
        x = batch if transform is None else transform(key, batch)
        return jnp.concatenate([x, x], axis=1)

    return draw
