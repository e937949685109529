"""Mutual information as a term: of samples and the codes in them, and of pairs of data.

InfoGAN is an expression: `objectives.generator(data, losses) + 1.0 * barber_agakov(...)`,
minimised by the player that owns generator and predictor.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from genmix.capabilities import ExactDensity
from genmix.divergences import mutual_information
from genmix.families import Implicit
from genmix.nets import state
from genmix.objectives.comparison import per_event
from genmix.objectives.term import Term, between
from genmix.paths import Part


def barber_agakov(
    name: str,
    code: Callable[[PyTree], PyTree],
    entropy: float,
    *,
    by: Part,
) -> Term:
    """Minus the lower bound H(c) + E log q(c | x) on I(c; x), for samples x of a generator.

    Both the generator and the predictor learn from it; as many samples as the batch has, whose
    events are not looked at. The metric NAME_information is the bound in nats; for a code of
    finitely many values it is at most H(c), the entropy of the code's own distribution.

    Args:
        name: of the code.
        code: draw of the generator's base -> the code in it.
        entropy: H(c), in nats.
        by: the predictor q, which has log_prob(c, x). The generator, an `Implicit` whose base draws
            noise and codes, is the part that `Term.of` names.

    Source: Chen et al. (2016), arXiv:1606.03657, section 5.
    """

    def loss(generator, predictor, key, batch, carry):
        draw_key, predictor_key = jax.random.split(key)

        def draw(part, key, _):
            z = part.base.sample(key)
            return code(z), part.network(z)

        pairs, statistics = per_event(draw, generator, draw_key, batch)
        state.store(generator, statistics)
        log_q = lambda predictor, _, pair: predictor.log_prob(*pair)
        log_qs, statistics = per_event(log_q, predictor, predictor_key, pairs)
        state.store(predictor, statistics)
        bound = mutual_information.barber_agakov(log_qs, entropy)
        return -bound, ({f"{name}_information": bound}, carry)

    def init(generator, predictor):
        if not isinstance(generator, Implicit):
            raise TypeError(
                f"{type(generator).__name__} is no Implicit, whose base draws the code {name!r}: "
                'say which part is, term.of("NAME").'
            )
        if not isinstance(predictor, ExactDensity):
            raise TypeError(
                f"{type(predictor).__name__} cannot predict the code {name!r}: it has no log_prob."
            )
        return ()

    return between(loss, init, by)


def info_nce(*, name: str = "info_nce") -> Term:
    """Minus the InfoNCE bound on I(x; y) in nats, of batches of pairs (x, y).

    The part is a critic that gives each pair a number, `critic((x, y))`, such as
    `Joined(MLP(...))`; it tells the y that comes with each x from the others of the batch.

    Raises:
        TypeError: if the part cannot be called.

    Source: van den Oord, Li & Vinyals (2018), arXiv:1807.03748, equation 4.
    """

    def loss(critic, key, batch, carry):
        del key
        x, y = batch
        score = lambda x, y: jnp.reshape(critic((x, y)), ())
        scores = jax.vmap(lambda y: jax.vmap(lambda x: score(x, y))(x))(y)
        bound = mutual_information.info_nce(scores)
        return -bound, ({name: bound}, carry)

    def init(critic):
        if not callable(critic):
            raise TypeError(
                f"{type(critic).__name__} is no critic of pairs: info_nce needs a network that is "
                "called with (x, y), such as Joined(MLP(...))."
            )
        return ()

    return Term(loss, init)
