"""The game: who moves, how often, what stays untouched."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from genmix.nets import MLP, state
from genmix.objectives import Term
from genmix.training import Game, Player, averaged_model, compile_rounds, start

TARGET = jnp.array([2.0, -1.0])


class Generator(nnx.Module):
    """An implicit generator of points in the plane."""

    def __init__(self, rngs):
        self.network = MLP(2, (16,), 2, rngs=rngs)

    def sample(self, key, cond=None):
        return self.network(jax.random.normal(key, (2,)))


def new_game():
    rngs = nnx.Rngs(0)
    generator = Generator(rngs)
    critic = MLP(2, (32,), 1, activation=jax.nn.relu, rngs=rngs)
    return Game(generator=generator, critic=critic)


def fakes(game, key, batch):
    return jax.vmap(game.generator.sample)(jax.random.split(key, len(batch)))


def critic_loss(game, key, batch, carry):
    real = jax.vmap(game.critic)(batch)
    fake = jax.vmap(game.critic)(fakes(game, key, batch))
    loss = jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))
    return loss, ({"value": -loss}, carry + 1)


def generator_loss(game, key, batch, carry):
    samples = fakes(game, key, batch)
    loss = jnp.mean(jax.nn.softplus(-jax.vmap(game.critic)(samples)))
    return loss, ({"mean": jnp.mean(samples)}, carry + 1)


def counted(loss):
    return Term(loss, lambda model: jnp.zeros((), jnp.int32))


def players(critic_steps=3):
    return [
        Player(
            name="critic",
            loss=counted(critic_loss),
            optimizer=optax.adam(5e-3, b1=0.5),
            steps=critic_steps,
        ),
        Player(
            name="generator",
            loss=counted(generator_loss),
            optimizer=optax.adam(2e-3, b1=0.5),
        ),
    ]


def data(n=512):
    return TARGET[None] + 0.3 * jax.random.normal(jax.random.key(9), (n, 2))


def play(players, num_rounds, model=None, batch_size=64, **options):
    game = start(jax.random.key(1), model or new_game(), players)
    return compile_rounds(players, batch_size=batch_size, num_rounds=num_rounds, **options)(
        game, data()
    )


def parameters(module):
    return {path: np.asarray(v) for path, v in state.variables(module, nnx.Param).items()}


def test_a_player_moves_as_often_as_it_says():
    game, metrics = play(players(critic_steps=3), 5)
    assert int(game.carries["critic"]) == 15
    assert int(game.carries["generator"]) == 5
    assert int(game.optimizers["critic"][0].count) == 15
    assert int(game.optimizers["generator"][0].count) == 5
    assert metrics["critic/value"].shape == metrics["generator/mean"].shape == (5,)


@pytest.mark.parametrize("mover", ["critic", "generator"])
def test_a_player_never_touches_the_other_s_parameters(mover):
    """Bitwise, after rounds in which only one of the two moves; and it does move its own."""
    before = parameters(new_game())
    alone = [player for player in players() if player.name == mover]
    game, _ = play(alone, 4)
    after = parameters(game.model)
    for path, value in before.items():
        same = np.array_equal(value, after[path])
        assert same != path.startswith(mover), path


def test_a_toy_gan_finds_the_data():
    """Samples end within 0.25 of the data's mean, from 2.2 away."""
    game, _ = play(players(critic_steps=2), 1500)
    samples = jax.vmap(game.model.generator.sample)(jax.random.split(jax.random.key(3), 2000))
    assert jnp.linalg.norm(jnp.mean(samples, axis=0) - TARGET) < 0.25
    untrained = jax.vmap(new_game().generator.sample)(jax.random.split(jax.random.key(3), 2000))
    assert jnp.linalg.norm(jnp.mean(untrained, axis=0) - TARGET) > 1.5


def test_calls_can_be_cut_anywhere_bit_for_bit():
    def cut(lengths):
        game = start(jax.random.key(1), new_game(), players())
        for n in lengths:
            game, _ = compile_rounds(players(), batch_size=64, num_rounds=n)(game, data())
        return parameters(game.model)

    whole, pieces = cut([6]), cut([3, 3])
    assert all(np.array_equal(whole[path], pieces[path]) for path in whole)


def test_a_players_batches_are_its_own():
    """Each of a round's steps sees another batch, and together they go through the data."""
    seen = Term(
        lambda model, key, batch, carry: (
            jnp.sum(model.critic.out.bias[...] ** 2),
            ({"first": batch[0]}, carry),
        )
    )
    watchers = [
        Player(name=name, loss=seen, optimizer=optax.sgd(0.1), owns=("critic",)) for name in "ab"
    ]
    game = start(jax.random.key(1), new_game(), watchers)
    numbers = jnp.arange(12.0)
    _, metrics = compile_rounds(watchers, batch_size=2, num_rounds=3)(game, numbers)
    firsts = np.concatenate([metrics["a/first"], metrics["b/first"]])
    assert len(np.unique(firsts)) == 6


def test_the_transform_sees_each_batch_with_its_own_key():
    loss = Term(
        lambda model, key, batch, carry: (
            jnp.sum(model.critic.out.bias[...] ** 2),
            ({"noise": batch[0, 0]}, carry),
        )
    )
    player = Player(loss=loss, optimizer=optax.sgd(0.1), owns=("critic",))
    noise = lambda key, batch: jax.random.normal(key, batch.shape)
    _, metrics = play([player], 20, transform=noise)
    assert len(np.unique(np.asarray(metrics["noise"]))) == 20


def test_the_average_of_the_parameters():
    """With decay 0 the last value; with decay near 1 the mean over the first rounds."""
    loss = Term(lambda model, key, batch, carry: (jnp.sum(model.critic.out.bias[...]), ({}, carry)))
    player = Player(loss=loss, optimizer=optax.sgd(1.0), owns=("critic",))

    def average(decay):
        game = start(jax.random.key(1), new_game(), [player], keep_average=True)
        step = compile_rounds([player], batch_size=4, num_rounds=3, average_decay=decay)
        game, _ = step(game, data())
        return float(game.model.critic.out.bias[0]), float(averaged_model(game).critic.out.bias[0])

    # The bias goes 0, -1, -2, -3 over three rounds.
    assert average(0.0) == (-3.0, -3.0)
    last, mean = average(0.999)
    assert last == -3.0
    np.testing.assert_allclose(mean, -2.0, rtol=1e-6)


def test_normalization_statistics_move_with_their_player_only():
    class Normalized(nnx.Module):
        def __init__(self):
            self.a = nnx.BatchNorm(2, rngs=nnx.Rngs(0))
            self.b = nnx.BatchNorm(2, rngs=nnx.Rngs(0))

    def loss(model, key, batch, carry):
        return jnp.mean((model.a(batch) + model.b(batch)) ** 2), ({}, carry)

    player = Player(loss=loss, optimizer=optax.sgd(0.1), owns=("a",))
    game, _ = play([player], 200, model=Normalized())
    np.testing.assert_allclose(game.model.a.mean[...], TARGET, atol=0.3)
    np.testing.assert_array_equal(game.model.b.mean[...], 0.0)


def test_the_caller_s_model_survives():
    """Rounds donate their state, not the module that training started from."""
    model = new_game()
    play(players(), 2, model=model)
    assert np.all(np.isfinite(np.asarray(model.critic.out.kernel[...])))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: [], ValueError, "players is empty: a game needs at least one player"),
        (lambda: players()[:1] * 2, ValueError, r"distinct names, got \['critic', 'critic'\]"),
        (
            lambda: [Player(loss=critic_loss, optimizer=optax.sgd(1.0), owns=("discriminator",))],
            ValueError,
            "owns 'discriminator', where the model has no parameters; it has some under critic",
        ),
        (
            lambda: [Player(loss=critic_loss, optimizer=optax.sgd(1.0), owns="critic")],
            TypeError,
            "owns must be a sequence of paths, got the string 'critic'",
        ),
        (
            lambda: [Player(loss=critic_loss, optimizer=optax.sgd(1.0), steps=0)],
            ValueError,
            "must take at least 1 step, got 0",
        ),
    ],
)
def test_games_that_make_no_sense_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        start(jax.random.key(0), new_game(), make())


def test_a_model_without_parameters_is_refused():
    player = Player(loss=critic_loss, optimizer=optax.sgd(1.0))
    with pytest.raises(ValueError, match="owns no parameters: the model has none"):
        start(jax.random.key(0), nnx.Module(), [player])


class Location(nnx.Module):
    def __init__(self):
        self.loc = nnx.Param(jnp.zeros(2))


def location_player(**options):
    def loss(model, key, batch, carry):
        distance = jnp.mean(jnp.sum((batch - model.loc[...][None]) ** 2, axis=1))
        state = {"steps": carry["steps"] + 1, "mean": jnp.mean(batch), "key": carry["key"]}
        return distance, ({"distance": distance}, state)

    init = lambda model: {
        "steps": jnp.zeros((), jnp.int32),
        "mean": jnp.zeros(()),
        "key": jax.random.key(0),
    }
    return Player(loss=Term(loss, init), optimizer=optax.sgd(0.1), **options)


@pytest.mark.parametrize("size", [1, 16, 64])
def test_gradients_of_parts_of_a_batch_add_up_to_that_of_the_whole(size):
    whole, metrics = play([location_player()], 5, Location())
    parts, same = play([location_player(examples_at_once=size)], 5, Location())
    np.testing.assert_allclose(parts.model.loc[...], whole.model.loc[...], rtol=1e-5)
    np.testing.assert_allclose(same["distance"], metrics["distance"], rtol=1e-5)
    assert int(parts.carries["model"]["steps"]) == 5
    np.testing.assert_allclose(
        parts.carries["model"]["mean"], whole.carries["model"]["mean"], rtol=1e-5
    )


def test_parts_draw_different_random_numbers():
    def loss(model, key, batch, carry):
        return jnp.sum(model.loc[...]) * 0.0 + jax.random.normal(key), ({}, carry)

    draw = lambda **options: play(
        [Player(loss=Term(loss), optimizer=optax.sgd(0.1), **options)], 200, Location()
    )[1]["loss"]
    # Means of 4 normals: variance 1/4, with 200 draws beyond 0.4 once in 10^7.
    assert np.var(draw(examples_at_once=16)) < 0.4 < np.var(draw())


def test_parts_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"multiple of examples_at_once, 24; got 64\."):
        play([location_player(examples_at_once=24)], 1, Location())
    with pytest.raises(ValueError, match="examples_at_once of player 'model' must be at least 1"):
        location_player(examples_at_once=0)


class Normalized(nnx.Module):
    """w x, normalized over the batch."""

    def __init__(self):
        self.weight = nnx.Param(jnp.float32(1.0))
        self.norm = nnx.BatchNorm(1, momentum=0.5, rngs=nnx.Rngs(0))


def test_averaged_parameters_have_statistics_of_their_own():
    """The weight is 1 and -1 in turn, so that it is about 0 on average, its square always 1."""

    def loss(model, key, batch, carry):
        normalized = model.norm(model.weight[...] * batch)
        return model.weight[...] ** 2, ({"unused": jnp.sum(normalized)}, carry)

    player = Player(loss=loss, optimizer=optax.sgd(1.0))
    x = jax.random.normal(jax.random.key(0), (64, 1))
    play = compile_rounds([player], batch_size=64, num_rounds=40, average_decay=0.99)
    begun = start(jax.random.key(1), Normalized(), [player], keep_average=True)
    played, _ = play(begun, x)
    averaged = averaged_model(played)
    np.testing.assert_allclose(
        averaged.norm.var[...], averaged.weight[...] ** 2 * jnp.var(x), atol=2e-3
    )
    np.testing.assert_allclose(played.model.norm.var[...], jnp.var(x), rtol=1e-5)
