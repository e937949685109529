"""Which latent dimensions a model uses, and what each costs."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Bool, Float, Key

from genmix.families.latent.draw import Draw
from genmix.families.latent.latent_variable import LatentVariableModel
from genmix.families.latent.top_down import TopDown
from genmix.nets import state

Encoder = LatentVariableModel | TopDown | Draw


@functools.partial(jax.jit, static_argnames="num_samples")
def _posterior_means(
    key: Key[Array, ""], model: Encoder, x: Array, num_samples: int
) -> list[tuple[Array, Array]]:
    """For each layer E[z | x], [n, dim], and the variance that sampling adds to it, [dim]."""

    def layers(key: Array, x: Array) -> list[Array]:
        zs, part = [], state.fresh(model)
        if not isinstance(part, LatentVariableModel):
            return [z.reshape(-1) for z in jax.tree.leaves(part.encode(key, x))]
        while isinstance(part, LatentVariableModel):
            key, layer_key = jax.random.split(key)
            x = part.encode(layer_key, x)
            zs.append(ravel_pytree(x)[0])
            part = part.prior
        return zs

    def one(key: Array, x: Array) -> list[tuple[Array, Array]]:
        zs = jax.vmap(layers, in_axes=(0, None))(jax.random.split(key, num_samples), x)
        return [(jnp.mean(z, axis=0), jnp.var(z, axis=0, ddof=1) / num_samples) for z in zs]

    per_event = jax.vmap(one)(jax.random.split(key, x.shape[0]), x)
    return [(mean, jnp.mean(noise, axis=0)) for mean, noise in per_event]


def encodings(
    key: Key[Array, ""], model: Any, x: Float[ArrayLike, "n ..."], *, num_samples: int = 100
) -> Float[np.ndarray, "n dim"]:
    """E_q[z | x] of the layer next to x, as a mean of samples: a representation of each event.

    Raises:
        TypeError: if the model is no LatentVariableModel.
        ValueError: if num_samples < 2.
    """
    return np.asarray(_layers(key, model, x, num_samples)[0][0])


def activities(
    key: Key[Array, ""],
    model: Any,
    x: Float[ArrayLike, "n ..."],
    *,
    num_samples: int = 100,
) -> list[Float[np.ndarray, " dim"]]:
    """Variance over x of E_q[z | x], for each dimension, one array a stochastic layer.

    The expectation is a mean of samples (inner layers know no other), and the variance that they
    add to it is taken off, so the estimate is unbiased and may be slightly negative. Of a posterior
    that proposes z is as drawn, without its weight.

    Args:
        model: a LatentVariableModel, whose prior may be one too, a TopDown or a Draw.

    Raises:
        TypeError: if it is none.
        ValueError: if num_samples < 2.

    Source: Burda, Grosse & Salakhutdinov (2016), arXiv:1509.00519, section 5.2.
    """
    layers = _layers(key, model, x, num_samples)
    return [np.asarray(jnp.var(mean, axis=0, ddof=1) - noise) for mean, noise in layers]


def _layers(key: Array, model: Any, x: ArrayLike, num_samples: int) -> list[tuple[Array, Array]]:
    if not isinstance(model, Encoder):
        raise TypeError(
            f"{type(model).__name__} is no LatentVariableModel, TopDown or Draw, so it has no "
            "latents to look at."
        )
    if num_samples < 2:
        raise ValueError(f"num_samples must be at least 2, got {num_samples}.")
    return _posterior_means(key, state.evaluating(model), jnp.asarray(x), num_samples)


def active_units(
    key: Key[Array, ""],
    model: Any,
    x: Float[ArrayLike, "n ..."],
    *,
    threshold: float = 1e-2,
    num_samples: int = 100,
) -> list[Bool[np.ndarray, " dim"]]:
    """Which dimensions have an activity above the threshold, one array a stochastic layer.

    Source: Burda, Grosse & Salakhutdinov (2016), arXiv:1509.00519, section 5.2.
    """
    return [a > threshold for a in activities(key, model, x, num_samples=num_samples)]


def rates(model: LatentVariableModel, x: Float[ArrayLike, "n ..."]) -> Float[np.ndarray, " dim"]:
    """KL(q(z | x) || p(z)) of each dimension, in closed form, in nats, mean over events.

    Raises:
        TypeError: if the posterior knows no closed form for the prior.
    """
    quiet = state.evaluating(model)
    return np.asarray(jnp.mean(jax.vmap(quiet.closed_rate)(jnp.asarray(x)), axis=0))
