"""Terms that move a codebook and keep the encoder near it, for `families.VectorQuantized`.

Squared distances are summed over an event's places and entries. All levels of codes take part.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from genmix.families.latent.vector_quantized import Quantized, VectorQuantized, drawn_from
from genmix.objectives.term import Term

hold = jax.lax.stop_gradient


def codebook() -> Term:
    """|sg(z) - e|^2: moves each code's vector towards what is rounded to it, by its gradient.

    Source: van den Oord, Vinyals & Kavukcuoglu (2017), arXiv:1711.00937, equation 3.
    """

    def loss(model, key, batch, carry):
        del key
        levels = _levels(model, batch)
        value = _sum([_mean_distance(hold(q.encoded), q.vectors) for _, q in levels])
        return value, ({"codebook": value}, carry)

    return Term(loss, _checked)


def commitment() -> Term:
    """|z - sg(e)|^2: keeps what the encoder gives near the vectors that it is rounded to.

    Source: van den Oord, Vinyals & Kavukcuoglu (2017), arXiv:1711.00937, equation 3.
    """

    def loss(model, key, batch, carry):
        del key
        levels = _levels(model, batch)
        value = _sum([_mean_distance(q.encoded, hold(q.vectors)) for _, q in levels])
        return value, ({"commitment": value}, carry)

    return Term(loss, _checked)


def moving_codebook(decay: float = 0.99, *, revive_below: float = 0.0) -> Term:
    """Each code's vector as the moving average of what is rounded to it.

    Of n_k encodings of a batch that are rounded to code k, with mean m_k,

        N_k <- decay N_k + (1 - decay) n_k,    e_k <- e_k + (1 - decay) n_k (m_k - e_k) / N_k.

    That is a step of gradient descent at a rate of each code's own, and it is taken as one: the
    codebook needs `optax.sgd(1.0)`, so that the whole step is taken and nothing else, as in
    `training.by_path(optax.adam(1e-3), codebook=optax.sgd(1.0))`. What is quantized in a step is
    so by the codebook before it. Codes that are not used stay where they are.

    The metric perplexity is exp of the entropy of the codes in the batch, the first level's.

    Args:
        revive_below: a code whose N_k falls below it gets an encoding of the batch, at random, for
            a vector, and N_k = revive_below. N_k is 1 at the start.

    Raises:
        ValueError: if decay is not in [0, 1), revive_below is negative; at the start of training,
            if codes are to be revived by a batch that gives fewer vectors than there are codes.

    Source: van den Oord, Vinyals & Kavukcuoglu (2017), arXiv:1711.00937, appendix A.1; Dhariwal et
    al. (2020), arXiv:2005.00341, section 3 (revived codes).
    """
    if not 0 <= decay < 1:
        raise ValueError(f"decay must be in [0, 1), got {decay}.")
    if revive_below < 0:
        raise ValueError(f"revive_below must not be negative, got {revive_below}.")

    def loss(model, key, batch, carry):
        losses, counts, uses, dead = [], [], [], []
        for i, (level, q) in enumerate(_levels(model, batch)):
            e = level.codebook.vectors[...]
            z, vectors = (hold(a).reshape(-1, e.shape[1]) for a in (q.encoded, q.vectors))
            n = jnp.zeros(len(e)).at[q.codes.reshape(-1)].add(1.0)
            count = decay * carry[i] + (1 - decay) * n
            # The mean distance from e of what is rounded to it: no sum that rounding could spoil.
            pull = jnp.zeros_like(e).at[q.codes.reshape(-1)].add(z - vectors)
            step = (1 - decay) * pull / jnp.where(count > 0, count, 1.0)[:, None]
            is_dead = count < revive_below
            if revive_below:
                drawn = drawn_from(jax.random.fold_in(key, i), z, len(e))
                step = jnp.where(is_dead[:, None], drawn - e, step)
                count = jnp.where(is_dead, revive_below, count)
            losses.append(-jnp.sum(hold(step) * e))
            uses.append(n)
            counts.append(hold(count))
            dead.append(jnp.sum(is_dead, dtype=e.dtype))
        value = _sum(losses)
        metrics = {"perplexity": _perplexity(uses[0]), "revived": _sum(dead)}
        return value - hold(value), (metrics, tuple(counts))

    def init(model):
        _checked(model)
        return tuple(jnp.ones(len(level.codebook.vectors[...])) for level in _chain(model))

    return Term(loss, init)


def _chain(model: Any) -> Iterator[VectorQuantized]:
    while isinstance(model, VectorQuantized):
        yield model
        model = model.prior


def _levels(model: Any, batch: PyTree) -> Iterator[tuple[VectorQuantized, Quantized]]:
    """Each level of codes, and what it makes of the codes of the one before."""
    for level in _chain(model):
        quantized = jax.vmap(level.quantized)(batch)
        yield level, quantized
        batch = quantized.codes


def _sum(terms: list[Array]) -> Float[Array, ""]:
    return jnp.sum(jnp.stack(terms))


def _mean_distance(a: Array, b: Array) -> Float[Array, ""]:
    """Squared, of one event, in the mean over the first axis."""
    return jnp.sum((a - b) ** 2) / len(a)


def _perplexity(counts: Float[Array, " codes"]) -> Float[Array, ""]:
    p = counts / jnp.sum(counts)
    return jnp.exp(-jnp.sum(jax.scipy.special.xlogy(p, p)))


def _checked(model: Any) -> tuple[()]:
    if not isinstance(model, VectorQuantized):
        raise TypeError(
            f"{type(model).__name__} has no codebook: this term is for a VectorQuantized, or for "
            'the part of a game that is one: term.of("NAME").'
        )
    return ()
