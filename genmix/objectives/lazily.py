"""A term that is computed in every so many steps, and counts for all of them."""

import jax
import jax.numpy as jnp

from genmix.nets import state
from genmix.objectives.term import Term


def lazily(term: Term, every: int) -> Term:
    """`every` times the term in steps 0, every, 2 every, ..., and nothing in those between.

    For costly penalties: the gradient's mean over steps is that of the term itself, and where every
    is 1 it is the term. The metrics are multiplied as the loss is, so their means over reports are
    right. Part of one loss, it needs no other learning rate; what networks change about themselves
    in it is not kept.

    Raises:
        ValueError: if every < 1.

    Source: Karras et al. (2020), arXiv:1912.04958, section 3.1 and appendix B.
    """
    if every < 1:
        raise ValueError(f"every must be at least 1, got {every}.")
    if every == 1:
        return term

    def loss(model, key, batch, carry):
        step, inner = carry

        def now(inner):
            value, (metrics, inner) = term(state.fresh(model), key, batch, inner)
            return every * value, ({name: every * m for name, m in metrics.items()}, inner)

        shapes = jax.eval_shape(now, inner)

        def later(inner):
            zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), (shapes[0], shapes[1][0]))
            return zeros[0], (zeros[1], inner)

        value, (metrics, inner) = jax.lax.cond(step == 0, now, later, inner)
        return value, (metrics, ((step + 1) % every, inner))

    return Term(
        loss,
        lambda model: (jnp.zeros((), jnp.int32), term.init(model)),
        lambda part: lazily(term.of(part), every),
    )
