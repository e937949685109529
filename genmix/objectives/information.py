"""Mutual information of a generator's samples and the codes that it was given, as a term.

InfoGAN is an expression: `objectives.generator(data, losses) + 1.0 * barber_agakov(...)`,
minimised by the player that owns generator and predictor.
"""

from collections.abc import Callable

import jax
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
