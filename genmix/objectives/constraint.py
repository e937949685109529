"""Constraints with a Lagrange multiplier: a number that a player owns.

A beta that is learned: `constrained(rate(), reconstruction(), at_most=40.0)` makes the rate as
small as a distortion of 40 nats lets it be, and `constrained(reconstruction(), -1.0 * rate(),
at_most=-5.0)` the distortion, with a rate of at least 5 nats.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from genmix.objectives.term import Term
from genmix.paths import Part, find


class Multiplier(nnx.Module):
    """A positive number, kept as its logarithm.

    Raises:
        ValueError: if it is not positive at the start.
    """

    def __init__(self, start: float = 1.0):
        if not start > 0:
            raise ValueError(f"start must be positive, got {start}.")
        self.log_value = nnx.Param(jnp.log(start))

    def __call__(self) -> Float[Array, ""]:
        return jnp.exp(self.log_value[...])


def constrained(
    minimised: Term, subject_to: Term, *, at_most: float, by: Part = "multiplier"
) -> Term:
    """The first term plus multiplier * (the second - at_most), to be minimised subject to both.

    Its gradient for the multiplier is turned: whoever minimises the term raises the multiplier
    while the constraint is not met, and lowers it while there is room. So one loss is that of both
    players, or of one:

        Game(model=model, multiplier=Multiplier())
        [Player(name="model", loss=loss, ...), Player(name="multiplier", loss=loss, ...)]

    with `loss = constrained(rate().of("model"), reconstruction().of("model"), at_most=40.0)`.
    Metrics are those of the terms, the multiplier, and the gap: how much the constraint is
    violated, in the unit of its term.

    Source: Rezende & Viola (2018), arXiv:1810.00597, section 2 (GECO, without its moving average);
    Platt & Barr (1987), Constrained Differential Optimization.
    """

    def loss(game, key, batch, carry):
        first_key, second_key = jax.random.split(key)
        value, (metrics, first) = minimised(game, first_key, batch, carry[0])
        constraint, (more, second) = subject_to(game, second_key, batch, carry[1])
        weight, gap = find(game, by)(), constraint - at_most
        hold = jax.lax.stop_gradient
        total = value + hold(weight) * gap - (weight - hold(weight)) * hold(gap)
        metrics = {**metrics, **more, "multiplier": weight, "gap": gap}
        return total, (metrics, (first, second))

    def init(game):
        find(game, by)
        return minimised.init(game), subject_to.init(game)

    return Term(loss, init)
