"""Translation between two domains without pairs: what a cycle and an identity say of it.

A batch is (events of the source, events of the target), which need not belong together. A game has
a translator for each direction, any part with `sample(key, event)` such as `Deterministic`, and a
critic for each domain:

    def towards(there, back, critic):
        made = generator(translated, gan.least_squares, by=critic)
        return (made + 10.0 * cycle(back=back) + 5.0 * identity()).of(there).named(there)

    loss = towards("to_b", "to_a", "critic_b") + towards("to_a", "to_b", "critic_a").on(reverse)
    Player(name="translators", owns=("to_a", "to_b"), loss=loss, optimizer=...)

Source: Zhu et al. (2017), arXiv:1703.10593.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from genmix.nets import state
from genmix.objectives.comparison import Comparison, checked, per_event
from genmix.objectives.term import Term, between
from genmix.paths import Part

translated = Comparison("translated", lambda part, key, pair: (pair[1], part.sample(key, pair[0])))
"""Events of the target with translations of the source's, for batches (source, target)."""


def reverse(pair: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
    """The batch of the other direction, for `Term.on`."""
    source, target = pair
    return target, source


def cycle(*, back: Part) -> Term:
    """E |back(there(x)) - x| of events x of the source, averaged over the entries of an event.

    The term is about the translator there, `.of("to_b")`; both have its gradient. The metric is
    cycle_error. Two translators whose distributions are right and whose cycle is closed need not be
    the ones that are wanted: between two normals any rotation in between does as well.

    Args:
        back: the translator of the other direction.
    """

    def loss(there, back, key, batch, carry):
        source, _ = batch

        def one(parts, key, x):
            there_key, back_key = jax.random.split(key)
            return _distance(parts[1].sample(back_key, parts[0].sample(there_key, x)), x)

        values, statistics = per_event(one, (there, back), key, source)
        state.store((there, back), statistics)
        value = jnp.mean(values)
        return value, ({"cycle_error": value}, carry)

    check = checked(translated)
    return between(loss, lambda there, back: (check(there), check(back))[0], back)


def identity() -> Term:
    """E |there(y) - y| of events y of the target, averaged over the entries of an event.

    What looks like the target already should stay as it is. The term is about the translator there,
    `.of("to_b")`, whose domains must have the same shape; the metric is identity_error.
    """

    def loss(there, key, batch, carry):
        _, target = batch
        one = lambda part, key, y: _distance(part.sample(key, y), y)
        values, statistics = per_event(one, there, key, target)
        state.store(there, statistics)
        value = jnp.mean(values)
        return value, ({"identity_error": value}, carry)

    return Term(loss, checked(translated))


def _distance(a: Any, b: Any) -> Float[Array, ""]:
    differences = [jnp.reshape(d, -1) for d in jax.tree.leaves(jax.tree.map(jnp.subtract, a, b))]
    return jnp.mean(jnp.abs(jnp.concatenate(differences)))
