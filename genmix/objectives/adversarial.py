"""Terms of players against each other: a critic, and what it judges.

A GAN is two players; the generator's does not move the critic, nor the critic's the generator:

    game = Game(generator=..., critic=...)
    judged = critic(data, gan.wasserstein) + 10.0 * wgan_gp(data)
    Player(name="critic", loss=judged.of("generator"), optimizer=..., steps=5)
    made = generator(data, gan.wasserstein)
    Player(name="generator", loss=made.of("generator"), optimizer=...)

`data`, `latent`, `joint` of `genmix.objectives.comparison` say what is compared, and the losses of
`genmix.divergences.gan` how. `Term.of` says which part of the game is compared; `by`, in all terms,
which one is the critic: event -> score, real and fake ones in batches apart.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.bounds.log_weight import with_gradient_of
from genmix.divergences import coverage, gan, gradient_penalty
from genmix.divergences import feature_matching as matching
from genmix.nets import state
from genmix.objectives.autoencoding import Encodes
from genmix.objectives.comparison import (
    Comparison,
    checked_to_move,
    flat,
    pairs,
    per_event,
    require,
)
from genmix.objectives.pool import Pool
from genmix.objectives.term import Term, between
from genmix.paths import Part


def _constant(tree: Any) -> Any:
    return jax.tree.map(jax.lax.stop_gradient, tree)


def _scores(
    judge: Any, key: Key[Array, ""], events: PyTree
) -> tuple[Float[Array, " n"], dict[str, Array]]:
    return per_event(lambda judge, _, event: jnp.reshape(judge(event), ()), judge, key, events)


def critic(
    comparison: Comparison, losses: gan.Losses, *, by: Part = "critic", pool: Pool | None = None
) -> Term:
    """Loss of the critic, which learns to tell real events from fake ones.

    Metrics: the lower bound on the divergence (in nats for the JSD); accuracy, how often a real
    event scores higher than a fake one, 0.5 for a critic that is fooled and 1 for a saturated one;
    and of batches of at least two, `divergences.coverage` of the real events by the fake ones, up
    to 64 of them: about 1 for equal distributions, near 0 for a generator that has collapsed.

    Args:
        pool: earlier fake events, some of which the critic is shown in place of new ones.
    """
    given = Pool(0, None) if pool is None else pool

    def loss(part, judge, key, batch, carry):
        draw_key, real_key, fake_key = jax.random.split(key, 3)
        real, fake = _constant(pairs(comparison, part, draw_key, batch))
        metrics = _covered(comparison, real, fake)
        if given.size:
            fake_key, pool_key = jax.random.split(fake_key)
            fake, carry = given.exchange(pool_key, carry, fake)
        of_real, statistics = _scores(judge, real_key, real)
        state.store(judge, statistics)
        of_fake, statistics = _scores(judge, fake_key, fake)
        state.store(judge, statistics)
        value = losses.critic(of_real, of_fake)
        metrics |= {
            f"{comparison.name}_{losses.measures}": losses.divergence(value),
            f"{comparison.name}_accuracy": gan.accuracy(of_real, of_fake),
        }
        return value, (metrics, carry)

    def init(part, judge):
        require(comparison, part)
        return given.empty() if given.size else ()

    return between(loss, init, by)


def _covered(comparison: Comparison, real: PyTree, fake: PyTree) -> dict[str, Array]:
    """Of a part of a large batch: it takes the square of the events."""
    rows = flat(real)[:64], flat(fake)[:64]
    if len(rows[0]) < 2:
        return {}
    share = coverage.coverage(*rows, num_neighbours=min(5, len(rows[0]) - 1))
    return {f"{comparison.name}_coverage": share}


def generator(comparison: Comparison, losses: gan.Losses, *, by: Part = "critic") -> Term:
    """Loss of the player that makes the two distributions alike; the critic is held constant.

    The metric is the mean norm of the gradient that a fake event gets from the critic: near zero,
    the critic is saturated and teaches nothing.
    """

    def loss(part, judge, key, batch, carry):
        draw_key, fake_key, real_key = jax.random.split(key, 3)
        real, fake = pairs(comparison, part, draw_key, batch)
        judge = _constant(judge)

        def judged(fake, real):
            value = losses.generator(_scores(judge, fake_key, fake)[0])
            if comparison.moves_real:
                value += losses.generator(-_scores(judge, real_key, real)[0])
            return value

        # The gradient for the events is taken here, so that its norm costs nothing.
        value, slopes = jax.value_and_grad(judged, argnums=(0, 1))(*_constant((fake, real)))
        products = jax.tree.leaves(jax.tree.map(jnp.vdot, slopes, (fake, real)))
        # The loss is a mean over events, so the sum of these norms is the mean over events, too.
        norm = jnp.sum(jnp.linalg.norm(flat(slopes[0]), axis=1))
        metrics = {f"{comparison.name}_gradient_norm": norm}
        return with_gradient_of(value, jnp.sum(jnp.stack(products))), (metrics, carry)

    return between(loss, checked_to_move(comparison), by)


def feature_matching(
    comparison: Comparison,
    features: Callable[[Any, Any], Float[Array, "..."]],
    *,
    by: Part = "critic",
) -> Term:
    """Squared distance between mean features of both kinds of events; the critic is held constant.

    Args:
        features: (critic, event) -> features, such as `DCGANCritic.features`.

    Source: Salimans et al. (2016), arXiv:1606.03498, section 3.1.
    """

    def loss(part, judge, key, batch, carry):
        draw_key, real_key, fake_key = jax.random.split(key, 3)
        real, fake = pairs(comparison, part, draw_key, batch)
        judge, seen = _constant(judge), lambda judge, _, event: features(judge, event)
        of_real, _ = per_event(seen, judge, real_key, real)
        of_fake, _ = per_event(seen, judge, fake_key, fake)
        value = matching.squared(of_real, of_fake)
        return value, ({f"{comparison.name}_feature_matching": value}, carry)

    return between(loss, checked_to_move(comparison), by)


def feature_likelihood(
    features: Callable[[Any, Any], Float[Array, "..."]],
    *,
    by: Part = "critic",
) -> Term:
    """Minus E log N(f(x) | f(mean of x given z), I) in nats, with z drawn from the posterior.

    The likelihood of a VAE-GAN: features f of the critic, which is held constant, in place of
    pixels. The metric is feature_log_likelihood.

    Source: Larsen et al. (2016), arXiv:1512.09300, equation 7.
    """

    def loss(part, judge, key, batch, carry):
        judge = _constant(judge)

        def one(part, key, x):
            network_key, key = jax.random.split(key)
            seen = lambda x: features(state.reseeded(judge, network_key), x)
            distance = seen(x) - seen(part.decode(part.encode(key, x)))
            return -0.5 * jnp.sum(distance**2 + math.log(2 * math.pi))

        values, statistics = per_event(one, part, key, batch)
        state.store(part, statistics)
        value = jnp.mean(values)
        return -value, ({"feature_log_likelihood": value}, carry)

    def init(part, judge):
        del judge
        if not isinstance(part, Encodes) or not hasattr(part, "decode"):
            raise TypeError(
                f"{type(part).__name__} has no encode and decode, whose images the critic's "
                'features could compare: say which part has them, term.of("NAME").'
            )
        return ()

    return between(loss, init, by)


def wgan_gp(comparison: Comparison, *, by: Part = "critic") -> Term:
    """Mean of (|grad critic| - 1)^2 between real and fake events; a weight of 10 is usual.

    Source: Gulrajani et al. (2017), arXiv:1704.00028.
    """
    return _penalty("wgan_gp", gradient_penalty.wgan_gp, comparison, by)


def wgan_lp(comparison: Comparison, *, by: Part = "critic") -> Term:
    """Mean of max(|grad critic| - 1, 0)^2 between real and fake events.

    Source: Petzka, Fischer & Lukovnikov (2018), arXiv:1709.08894.
    """
    return _penalty("wgan_lp", gradient_penalty.wgan_lp, comparison, by)


def r1(comparison: Comparison, *, by: Part = "critic") -> Term:
    """Half the mean of |grad critic|^2 at real events.

    Source: Mescheder, Geiger & Nowozin (2018), arXiv:1801.04406.
    """
    at_real = lambda key, judge, real, fake: gradient_penalty.r1(judge, real)
    return _penalty("r1", at_real, comparison, by)


def _penalty(
    name: str,
    penalty: Callable[..., Float[Array, ""]],
    comparison: Comparison,
    by: Part,
) -> Term:
    """Term of a penalty (key, critic, real, fake) -> number; fake events are drawn anew.

    A critic may depend on a condition as it likes, so that has no part in the gradient.
    """

    def loss(part, judge, key, batch, carry):
        draw_key, network_key, place_key = jax.random.split(key, 3)
        real, fake = _constant(pairs(comparison, part, draw_key, batch))

        def score(event):
            if comparison.given:
                event = (event[0], _constant(event[1]))
            return jnp.reshape(state.reseeded(judge, network_key)(event), ())

        value = penalty(place_key, score, real, fake)
        return value, ({f"{comparison.name}_{name}": value}, carry)

    def init(part, judge):
        require(comparison, part)
        for _, layer in nnx.iter_graph(judge):
            if isinstance(layer, nnx.BatchNorm):
                raise ValueError(
                    "a gradient penalty needs a critic whose score depends on one event alone, and "
                    f"{type(judge).__name__} has batch normalization: leave it out."
                )
        return ()

    return between(loss, init, by)
