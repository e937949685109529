"""Pictures of several models beside each other, what each makes of the same draws or images.

Shown of x given z are means where the likelihood knows them, and draws where it does not, as that
of an autoregressive decoder. Networks are in evaluation mode.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Key, PyTree

from genmix.capabilities import Mean
from genmix.evaluation import pictures
from genmix.nets import state


def shown(key: Key[Array, ""], model: Any, z: PyTree) -> Float[Array, "n height width channels"]:
    """x given each z, arrays of a pytree with n along their first axes."""

    def one(key: Key[Array, ""], z: PyTree) -> Array:
        likelihood = state.fresh(quiet).likelihood
        return likelihood.mean(z) if isinstance(likelihood, Mean) else likelihood.sample(key, z)

    quiet = state.evaluating(model)
    keys = jax.random.split(key, len(jax.tree.leaves(z)[0]))
    return jax.jit(jax.vmap(one))(keys, z)


def save_samples(
    path: str | Path, key: Key[Array, ""], models: Sequence[Any], *, num_images: int = 10
) -> None:
    """x given z of the prior, of all models by the same keys: rows of ten.

    Args:
        models: with a prior and a likelihood, such as a LatentVariableModel or an Autoencoder;
            images in [0, 1].
    """
    z_key, x_key = jax.random.split(key)
    keys = jax.random.split(z_key, num_images)
    draw = lambda model: jax.vmap(state.evaluating(model).prior.sample)(jax.random.clone(keys))
    rows = [shown(jax.random.clone(x_key), model, draw(model)) for model in models]
    pictures.save_samples(path, np.concatenate(rows))


def save_reconstructions(
    path: str | Path,
    key: Key[Array, ""],
    models: Sequence[Any],
    x: Float[ArrayLike, "n height width channels"],
) -> None:
    """A row of images x; and a row for each model, of x given what it encodes them as.

    That is the mean of z given x, or a draw of it where the posterior does not know its mean.
    """
    x = jnp.asarray(x)
    z_key, x_key = jax.random.split(key)
    keys = jax.random.split(z_key, len(x))

    def encodings(model: Any) -> PyTree:
        quiet = state.evaluating(model)
        if isinstance(quiet.posterior, Mean):
            return jax.vmap(quiet.posterior.mean)(x)
        return jax.vmap(lambda key, x: state.fresh(quiet).encode(key, x))(jax.random.clone(keys), x)

    rows = [shown(jax.random.clone(x_key), model, encodings(model)) for model in models]
    pictures.save_samples(path, np.concatenate([x, *rows]), columns=len(x))
