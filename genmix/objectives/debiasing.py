"""Training on examples drawn as often as their latents are rare."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from genmix import examples as counting
from genmix.families.latent.latent_variable import LatentVariableModel
from genmix.nets import state
from genmix.objectives.term import Term
from genmix.paths import Part, find

Weights = Callable[[Float[Array, "n d"]], Float[Array, " n"]]
"""Densities of each entry of each example's z -> weights of the examples, not normalized."""


def densities(
    z: Float[Array, "n d"], *, bins: int = 10, smoothing: float = 1e-3
) -> Float[Array, "n d"]:
    """Share of the examples in the bin of each entry, plus the smoothing.

    Each entry has a histogram of its own, of equal bins from its least to its greatest value; so
    nothing changes if it is shifted or scaled.

    Raises:
        ValueError: if bins < 1 or the smoothing is not positive.
    """
    if bins < 1 or smoothing <= 0:
        raise ValueError(
            f"bins must be at least 1 and smoothing positive, got {bins} and {smoothing}."
        )
    low, high = jnp.min(z, axis=0, keepdims=True), jnp.max(z, axis=0, keepdims=True)
    width = jnp.where(high > low, high - low, 1.0)
    place = jnp.minimum((bins * (z - low) / width).astype(jnp.int32), bins - 1)
    share = jnp.mean(jax.nn.one_hot(place, bins), axis=0)  # [d, bins]
    return jnp.take_along_axis(share.T, place, axis=0) + smoothing


def product(densities: Float[Array, "n d"]) -> Float[Array, " n"]:
    """The product over entries of 1 / density: examples that are rare in all of them.

    Source: Amini et al. (2019), Uncovering and Mitigating Algorithmic Bias through Learned Latent
    Structure, AIES, equation 5.
    """
    log_weights = -jnp.sum(jnp.log(densities), axis=1)
    return jnp.exp(log_weights - jnp.max(log_weights))


def maximum(densities: Float[Array, "n d"]) -> Float[Array, " n"]:
    """The largest over entries of 1 / density: examples that are rare in one.

    Source: the course's code, github.com/aamini/introtodeeplearning, lab 2, where each entry's
    weights are normalized before the largest is taken.
    """
    each = 1 / densities
    return jnp.max(each / jnp.sum(each, axis=0, keepdims=True), axis=1)


def debiased(
    term: Term,
    examples: PyTree,
    batch_size: int,
    *,
    weights: Weights = product,
    latents: Callable[[PyTree], PyTree] = lambda example: example,
    of: Part = lambda model: model,
    every: int = 100,
    bins: int = 10,
    smoothing: float = 1e-3,
) -> Term:
    """A term on batches that are drawn by the rarity of their latents under the model of now.

    The batches of the run are not looked at. Weights start uniform; a step that is a multiple of
    `every`, after the first, encodes all examples and weighs them anew. The metric effective_share
    is that of as many equal weights as would be as uneven, 1 where all are the same.

    Args:
        examples: along the first axis of each array.
        weights: `product`, as in the paper, `maximum`, as in the course's code, or one's own.
        latents: an example -> the x that the model encodes, such as the image of a pair.
        of: the LatentVariableModel, if it is a part of the game.
        bins, smoothing: of `densities`.

    Raises:
        ValueError: if there are no examples, or batch_size or every is < 1; or as `densities`.
        TypeError: at the start of training, if there is no model to encode with.

    Source: Amini et al. (2019), algorithm 1.
    """
    number, examples = counting.count(examples), jax.tree.map(jnp.asarray, examples)
    if min(number, batch_size, every) < 1:
        raise ValueError(
            f"there must be an example, and batch_size and every be at least 1; got {number} "
            f"examples, batch_size {batch_size} and every {every}."
        )

    def weigh(model: Any, key: Key[Array, ""]) -> Float[Array, " n"]:
        coder = state.evaluating(find(model, of))
        encode = lambda key, example: jnp.ravel(coder.encode(key, latents(example)))
        z = jax.vmap(encode)(jax.random.split(key, number), examples)
        found = weights(densities(z, bins=bins, smoothing=smoothing))
        return jax.lax.stop_gradient(found / jnp.sum(found))

    def loss(model, key, batch, carry):
        del batch
        weight_key, choice_key, key = jax.random.split(key, 3)
        step, shares, inner = carry
        is_time = (step > 0) & (step % every == 0)
        shares = jax.lax.cond(is_time, lambda: weigh(model, weight_key), lambda: shares)
        chosen = jax.random.categorical(choice_key, jnp.log(shares), shape=(batch_size,))
        drawn = jax.tree.map(lambda a: a[chosen], examples)
        value, (metrics, inner) = term(model, key, drawn, inner)
        share = 1 / (number * jnp.sum(shares**2))
        return value, ({**metrics, "effective_share": share}, (step + 1, shares, inner))

    def init(model):
        coder = find(model, of)
        if not isinstance(coder, LatentVariableModel):
            raise TypeError(
                f"debiased encodes with a LatentVariableModel, got {type(coder).__name__}: name "
                'the part, as in of="model".'
            )
        densities(jnp.zeros((1, 1)), bins=bins, smoothing=smoothing)
        return jnp.zeros((), jnp.int32), jnp.full(number, 1 / number), term.init(model)

    return Term(loss, init)
