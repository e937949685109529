"""Translators and their critics: which way round, what a pool keeps, and two normal domains."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from genmix import nets, objectives
from genmix.divergences import gan
from genmix.families import Deterministic
from genmix.nets import state
from genmix.objectives import Pool
from genmix.training import Game, Plan, Player, Run, compile_rounds, fit, start

IMAGE = jnp.zeros(2)


class Affine(nnx.Module):
    def __init__(self, slope, shift):
        self.slope, self.shift = nnx.Param(jnp.asarray(slope)), nnx.Param(jnp.asarray(shift))

    def __call__(self, x):
        return self.slope[...] @ x + self.shift[...]


def affine(slope, shift):
    return Deterministic(Affine(slope * jnp.eye(2), jnp.full(2, shift)))


def evaluate(term, game, batch):
    value, (metrics, carry) = term(state.fresh(game), jax.random.key(0), batch, term.init(game))
    return float(value), metrics, carry


def test_cycle_and_identity_have_their_arguments_the_right_way_round():
    """There doubles and adds one, back quarters: 3 comes back as 1.75, 5 as 3.5."""
    game = Game(to_b=affine(2.0, 1.0), to_a=affine(0.25, 0.0))
    batch = (jnp.full((4, 2), 3.0), jnp.full((4, 2), 5.0))
    cycle = lambda there, back: objectives.cycle(back=back).of(there)
    np.testing.assert_allclose(evaluate(cycle("to_b", "to_a"), game, batch)[0], 1.25)
    back = cycle("to_a", "to_b").on(objectives.reverse)
    np.testing.assert_allclose(evaluate(back, game, batch)[0], 1.5)  # 5 -> 1.25 -> 3.5
    identity = objectives.identity().of("to_b")
    np.testing.assert_allclose(evaluate(identity, game, batch)[0], 6.0)
    identity = objectives.identity().of("to_a").on(objectives.reverse)
    np.testing.assert_allclose(evaluate(identity, game, batch)[0], 2.25)  # 3 -> 0.75
    both = cycle("to_b", "to_a").named("b") + back.named("a")
    assert evaluate(both, game, batch)[1].keys() == {"b_cycle_error", "a_cycle_error"}
    real, fake = objectives.translated.draw(
        game.to_b, jax.random.key(0), (batch[0][0], batch[1][0])
    )
    np.testing.assert_allclose((real[0], fake[0]), (5.0, 7.0))


def test_both_translators_have_the_gradient_of_a_cycle():
    game = Game(to_b=affine(2.0, 1.0), to_a=affine(0.5, 0.0))
    term = objectives.cycle(back="to_a").of("to_b")
    loss = lambda p: term(state.with_variables(game, p), jax.random.key(0), (X, X), ())[0]
    slopes = jax.grad(loss)(state.variables(game, nnx.Param))
    assert all(np.any(slope != 0) for slope in slopes.values())


X = jax.random.normal(jax.random.key(7), (20, 2))


def test_a_pool_keeps_the_first_events_and_then_swaps_half_of_them():
    pool = Pool(50, IMAGE)
    events = jnp.arange(600.0)[:, None] * jnp.ones((1, 2))
    shown, held = jax.jit(pool.exchange)(jax.random.key(0), pool.empty(), events[:50])
    np.testing.assert_array_equal(shown, events[:50])
    np.testing.assert_array_equal(held.events, events[:50])
    shown, held = jax.jit(pool.exchange)(jax.random.key(1), held, events[50:])
    is_new = np.asarray(shown == events[50:])[:, 0]
    # Of 550 fair coins, within 5 deviations: false alarms of 6e-7; the key is fixed.
    assert abs(is_new.sum() - 275) < 5 * np.sqrt(550 / 4)
    assert np.all(np.asarray(shown - events[50:])[~is_new] < 0)  # only earlier ones
    # Nothing is lost: every event was shown at once, or later, or is in the pool still.
    seen = np.concatenate([np.asarray(events[:50]), np.asarray(shown), np.asarray(held.events)])
    assert set(seen[:, 0]) == set(np.asarray(events)[:, 0])


def test_a_pool_of_size_zero_gives_the_current_events():
    game = Game(to_b=affine(2.0, 1.0), critic=nets.MLP(2, (4,), 1, rngs=nnx.Rngs(0)))
    losses = (objectives.translated, gan.least_squares)
    plain = objectives.critic(*losses).of("to_b")
    empty = objectives.critic(*losses, pool=Pool(0, IMAGE)).of("to_b")
    assert evaluate(plain, game, (X, X))[0] == evaluate(empty, game, (X, X))[0]
    shown, _ = Pool(0, IMAGE).exchange(jax.random.key(0), Pool(0, IMAGE).empty(), X)
    np.testing.assert_array_equal(shown, X)
    with pytest.raises(ValueError, match="size of a pool must not be negative, got -1"):
        objectives.critic(*losses, pool=Pool(-1, IMAGE)).of("to_b").init(game)


def players(rate=2e-3, pool=20, steps=1):
    """A CycleGAN between two domains of the plane."""

    def towards(there, back, critic):
        made = objectives.generator(objectives.translated, gan.least_squares, by=critic)
        return (made + objectives.cycle(back=back)).of(there).named(there)

    def judging(critic, there):
        kept = Pool(pool, IMAGE)
        told = objectives.critic(objectives.translated, gan.least_squares, by=critic, pool=kept)
        return told.of(there)

    adam = lambda: optax.adam(optax.cosine_decay_schedule(rate, steps), b1=0.5, b2=0.99)
    loss = towards("to_b", "to_a", "b") + towards("to_a", "to_b", "a").on(objectives.reverse)
    return [
        Player(name="translators", owns=("to_a", "to_b"), loss=loss, optimizer=adam()),
        Player(name="b", loss=judging("b", "to_b"), optimizer=adam()),
        Player(name="a", loss=judging("a", "to_a").on(objectives.reverse), optimizer=adam()),
    ]


def plane():
    rngs = nnx.Rngs(0)
    critic = lambda: nets.MLP(2, (32, 32), 1, activation=jax.nn.relu, rngs=rngs)
    return Game(to_b=affine(1.0, 0.0), to_a=affine(1.0, 0.0), a=critic(), b=critic())


def test_a_game_cut_anywhere_goes_on_bit_for_bit_with_its_pools():
    team, data = players(steps=100), (X, X + 3)
    step = compile_rounds(team, batch_size=8, num_rounds=2, donate=False)
    half, _ = step(start(jax.random.key(1), plane(), team), data)
    cut, _ = step(half, data)
    whole, _ = compile_rounds(team, batch_size=8, num_rounds=4)(
        start(jax.random.key(1), plane(), team), data
    )
    assert int(cut.carries["b"].num_events) == 20
    equal = lambda a, b: np.array_equal(a, b)
    assert jax.tree.all(jax.tree.map(equal, cut.carries, whole.carries))
    assert jax.tree.all(jax.tree.map(equal, cut.optimizers, whole.optimizers))


@pytest.mark.slow
def test_two_normal_domains_are_translated_into_each_other():
    """The map is one of many, by a rotation; both distributions and the cycle are right."""
    keys = jax.random.split(jax.random.key(0), 2)
    mix = jnp.array([[1.0, 0.0], [1.2, 0.5]])
    a = jax.random.normal(keys[0], (4096, 2)) * jnp.array([[1.0, 0.4]])
    b = jax.random.normal(keys[1], (4096, 2)) @ mix.T + jnp.array([[2.0, -1.0]])
    plan = Plan(num_rounds=2000, batch_size=128, average_decay=0.99, rounds_per_call=500)
    team = players(rate=5e-3, pool=50, steps=2000)
    game = fit(jax.random.key(1), plane(), team, (a, b), plan, Run(label=None)).model
    for part, source, target in ((game.to_b, a, b), (game.to_a, b, a)):
        found = np.asarray(jax.vmap(part.network)(source))
        np.testing.assert_allclose(found.mean(0), np.mean(target, axis=0), atol=0.15)
        np.testing.assert_allclose(np.cov(found.T), np.cov(target.T), atol=0.15)
    there_and_back = jax.vmap(lambda x: game.to_a.network(game.to_b.network(x)))(a)
    assert np.mean(np.abs(there_and_back - a)) < 0.05
