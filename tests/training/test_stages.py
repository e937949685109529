"""Stages of a game that grows: cut in the middle of a fade, averages that go on, new optimizers."""

import jax
import numpy as np
import optax
import pytest
from flax import nnx

from genmix import objectives
from genmix.divergences import gan
from genmix.families import Implicit, StandardNormal
from genmix.nets import state
from genmix.nets.style import GrowingCritic, GrowingGenerator
from genmix.nets.style.growing import grown
from genmix.training import Game, Plan, Player, Run, Stage, fit_stages

SHAPE, CHANNELS, STEPS = (4, 4, 1), (3, 2), 8
X = jax.random.normal(jax.random.key(0), (16, *SHAPE))


def game():
    rngs = nnx.Rngs(0)
    generator = Implicit(StandardNormal(3), GrowingGenerator(3, CHANNELS, SHAPE, rngs=rngs))
    critic = GrowingCritic(SHAPE, CHANNELS, rngs=rngs)
    return Game(generator=generator, critic=critic, average=state.fresh(generator))


def stage(level, rounds=STEPS):
    """A game whose level fades in over all its rounds."""
    fading = lambda term: objectives.fading(term.of("generator"), STEPS if level else 0)
    told = objectives.critic(objectives.grown_data, gan.non_saturating)
    made = objectives.generator(objectives.grown_data, gan.non_saturating)
    followed = objectives.follow(by="generator").of("average")
    team = [
        Player(name="critic", loss=fading(told), optimizer=optax.adam(1e-2)),
        Player(name="generator", loss=fading(made), optimizer=optax.adam(1e-2)),
        Player(name="average", loss=followed, optimizer=optax.sgd(0.1)),
    ]
    return Stage(
        name=f"level {level}",
        players=team,
        data=X if level else X[:, ::2, ::2],
        plan=Plan(num_rounds=rounds, batch_size=4, rounds_per_call=2),
        begin=lambda game: grown(game, level),
    )


def everything(fitted):
    return state.variables(fitted.model, nnx.Param)


def test_a_run_killed_in_the_middle_of_a_fade_ends_with_the_same_bits(tmp_path):
    play = lambda name, stages, resume=False: fit_stages(
        jax.random.key(1),
        game(),
        stages,
        Run(directory=tmp_path / name, label=None, resume=resume, checkpoint_every=2),
    )
    whole = play("whole", [stage(0), stage(1)])
    play("cut", [stage(0), stage(1, rounds=STEPS // 2)])
    again = play("cut", [stage(0), stage(1)], resume=True)
    first, second = everything(whole[1]), everything(again[1])
    assert all(np.array_equal(first[path], second[path]) for path in first)
    steps, fades = again[1].history["generator/fade"]
    np.testing.assert_array_equal(steps, [2, 4, 6, 8])
    np.testing.assert_allclose(fades, (2 * np.arange(4) + 0.5) / STEPS)
    # A new optimizer each stage, whose count is that of its own steps.
    assert int(whole[1].state.optimizers["generator"][0].count) == STEPS


def test_an_average_follows_by_its_rate_and_through_stages():
    """One step of SGD at rate 0.1 takes it a tenth of the way."""
    part = Game(average=game().generator, generator=game().generator)
    moved = state.with_variables(
        part.generator,
        {path: v + 1 for path, v in state.variables(part.generator, nnx.Param).items()},
    )
    part = Game(average=part.average, generator=moved)
    term = objectives.follow(by="generator").of("average")
    loss = lambda p: term(state.with_variables(part, p), jax.random.key(0), X, ())[0]
    slopes = jax.grad(loss)(state.variables(part, nnx.Param))
    for path, slope in slopes.items():
        np.testing.assert_allclose(slope, -1.0 if path.startswith("average") else 0.0, rtol=1e-5)


def test_stages_without_names_of_their_own_are_refused():
    with pytest.raises(ValueError, match="stages need distinct names, at least one, got"):
        fit_stages(jax.random.key(0), game(), [])
    with pytest.raises(ValueError, match="num_steps must not be negative, got -1"):
        objectives.fading(objectives.critic(objectives.grown_data, gan.hinge), -1)
