"""Terms that compare by samples: values, gradients, who moves, and critics that are known."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from genmix import objectives
from genmix.divergences import gan, mmd
from genmix.families import Implicit, LatentVariableModel, Normal, StandardNormal
from genmix.nets import MLP, state
from genmix.objectives import Term, comparison
from genmix.training import Game, Player, compile_rounds, start

X = jax.random.normal(jax.random.key(9), (32, 3))


OTHERS = (gan.minimax, gan.non_saturating, gan.hinge, gan.wasserstein)


class PairCritic(nnx.Module):
    def __init__(self, rngs):
        self.network = MLP(5, (8,), 1, rngs=rngs)

    def features(self, pair):
        return self.network.hidden[0](jnp.concatenate(pair))

    def __call__(self, pair):
        return self.network(jnp.concatenate(pair))


def vae(rngs):
    return LatentVariableModel(
        prior=StandardNormal(2),
        likelihood=Normal(MLP(2, (8,), 3, rngs=rngs)),
        posterior=Normal(MLP(3, (8,), 2, rngs=rngs)),
    )


def vae_game():
    rngs = nnx.Rngs(0)
    return Game(generator=vae(rngs), critic=PairCritic(rngs))


def evaluate(term, model, batch: Any = X):
    carry = term.init(model)
    loss, (metrics, _) = jax.jit(term)(state.fresh(model), jax.random.key(0), batch, carry)
    return float(loss), {name: float(value) for name, value in metrics.items()}


def gradient(term, model):
    def loss(own):
        return term(state.with_variables(model, own), jax.random.key(0), X, ())[0]

    return jax.jit(jax.grad(loss))(state.variables(model, nnx.Param))


@pytest.mark.parametrize(
    "losses", [gan.least_squares, *(pytest.param(f, marks=pytest.mark.slow) for f in OTHERS)]
)
def test_the_generator_has_the_gradient_of_its_loss(losses):
    """On both sides of a joint, though the term puts it together from two parts."""
    game = vae_game()
    term = objectives.generator(objectives.joint, losses).of("generator")

    def plain(model, key, batch, carry):
        draw_key, _, _ = jax.random.split(key, 3)
        real, fake = comparison.pairs(objectives.joint, model.generator, draw_key, batch)
        score = jax.vmap(lambda pair: model.critic(pair)[0])
        return losses.generator(score(fake)) + losses.generator(-score(real)), ({}, carry)

    got, expected = gradient(term, game), gradient(Term(plain), game)
    for part in ("posterior", "likelihood"):
        assert expected[f"generator.{part}.network.out.kernel"].any()
    for name, value in got.items():
        if name.startswith("critic"):
            assert not value.any()
        else:
            np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(evaluate(term, game)[0], evaluate(Term(plain), game)[0], rtol=1e-5)


def test_terms_add_to_a_bound():
    """ELBO and MMD read as the literature writes them, and the MMD moves the posterior alone."""
    model, penalty = vae(nnx.Rngs(0)), objectives.mmd(objectives.latent)
    loss, metrics = evaluate(objectives.elbo() + 10.0 * penalty, model)
    np.testing.assert_allclose(loss, -metrics["elbo"] + 10 * metrics["latent_mmd"], rtol=1e-5)
    for name, value in gradient(penalty, model).items():
        assert value.any() == name.startswith("posterior"), name


@pytest.mark.slow
def test_distances_are_those_of_the_bounds():
    game = Game(generator=vae(nnx.Rngs(0)))
    biased = objectives.mmd(objectives.data, mmd.rbf(1.0), statistic=mmd.biased).of("generator")
    unbiased = objectives.mmd(objectives.data, mmd.rbf(1.0)).of("generator")
    assert 0 < evaluate(biased, game)[0] - evaluate(unbiased, game)[0] < 2 / len(X)
    both = objectives.sliced_wasserstein(objectives.data).of("generator") + objectives.mmd(
        objectives.joint
    ).of("generator")
    assert evaluate(both, game)[1].keys() == {"data_sliced_wasserstein", "joint_mmd"}
    sliced = objectives.sliced_wasserstein(objectives.data, num_projections=200).of("generator")
    np.testing.assert_allclose(evaluate(sliced, game, X + 100.0)[0], 100.0**2, rtol=0.2)


def test_features_are_matched_by_the_generator_alone():
    game = vae_game()
    term = objectives.feature_matching(objectives.joint, PairCritic.features).of("generator")
    assert evaluate(term, game)[0] > 0
    slopes = gradient(term, game)
    assert slopes["generator.posterior.network.out.kernel"].any()
    assert not any(v.any() for name, v in slopes.items() if name.startswith("critic"))


class Lines(nnx.Module):
    """x -> encoding * x -> decoding * encoding * x."""

    def __init__(self):
        self.encoding, self.decoding = nnx.Param(jnp.asarray(0.5)), nnx.Param(jnp.asarray(1.5))

    def encode(self, key, x):
        return self.encoding * x

    def decode(self, z):
        return self.decoding * z


def test_encoder_and_decoder_learn_from_the_likelihood_of_features():
    """Minus it is g^2 (1 - a b)^2 |x|^2 / 2 and a constant, for features g x of a constant g."""

    class Gain(nnx.Module):
        def __init__(self):
            self.gain = nnx.Param(jnp.asarray(3.0))

    game = Game(generator=Lines(), critic=Gain())
    term = objectives.feature_likelihood(lambda judge, x: judge.gain * x).of("generator")
    size = np.mean(np.sum(np.asarray(X) ** 2, axis=1))
    expected = 0.5 * 9 * 0.25**2 * size + 1.5 * np.log(2 * np.pi)
    loss, metrics = evaluate(term, game)
    np.testing.assert_allclose([loss, -metrics["feature_log_likelihood"]], expected, rtol=1e-5)
    slopes = gradient(term, game)
    np.testing.assert_allclose(slopes["generator.encoding"], -9 * 0.25 * 1.5 * size, rtol=1e-5)
    np.testing.assert_allclose(slopes["generator.decoding"], -9 * 0.25 * 0.5 * size, rtol=1e-5)
    assert slopes["critic.gain"] == 0


def test_the_reported_norm_is_that_of_the_slope():
    """|w| for a score of w . x, whatever the size of the batch."""
    critic = nnx.Linear(3, 1, rngs=nnx.Rngs(0))
    game = Game(generator=Implicit(StandardNormal(3), lambda z: z), critic=critic)
    _, metrics = evaluate(
        objectives.generator(objectives.data, gan.wasserstein).of("generator"), game
    )
    expected = np.linalg.norm(critic.kernel[...])
    np.testing.assert_allclose(metrics["data_gradient_norm"], expected, rtol=1e-5)


def test_critics_of_classes_see_the_class():
    class Echo(nnx.Module):
        def sample(self, key, cond=None):
            return jnp.asarray(cond)

    class Disagreement(nnx.Module):
        def __call__(self, pair):
            return jnp.sum((pair[0] - pair[1]) ** 2)

    classes = jnp.eye(4)[jnp.arange(32) % 4]
    term = objectives.critic(objectives.conditional, gan.wasserstein).of("generator")
    loss, metrics = evaluate(
        term, Game(generator=Echo(), critic=Disagreement()), (classes[::-1], classes)
    )
    np.testing.assert_allclose(loss, -2.0)
    assert metrics["conditional_accuracy"] == 1.0


class Normalized(nnx.Module):
    """A score that is normalized over the batch."""

    def __init__(self):
        self.out = nnx.Linear(3, 1, rngs=nnx.Rngs(0))
        self.norm = nnx.BatchNorm(
            1, momentum=0.5, axis_name="batch", use_scale=False, rngs=nnx.Rngs(0)
        )

    def __call__(self, x):
        return self.norm(self.out(x))


def normalized_game():
    generator = Implicit(StandardNormal(3), MLP(3, (4,), 3, rngs=nnx.Rngs(0)))
    return Game(generator=generator, critic=Normalized())


def test_real_and_fake_events_are_normalized_apart():
    """Such a critic cannot tell a batch from its shift."""
    game = Game(generator=Implicit(StandardNormal(3), lambda z: z), critic=Normalized())
    term = objectives.critic(objectives.data, gan.wasserstein).of("generator")
    loss, metrics = evaluate(term, game, X + 50)
    np.testing.assert_allclose(loss, 0.0, atol=1e-5)
    assert 0.3 < metrics["data_accuracy"] < 0.7


def test_statistics_of_both_batches_are_kept():
    """First those of the real events, with half the weight of what comes after them."""
    game = Game(generator=Implicit(StandardNormal(3), jnp.ones_like), critic=Normalized())

    @jax.jit
    def kept(x):
        copy = state.fresh(game)
        term = objectives.critic(objectives.data, gan.wasserstein).of("generator")
        term(copy, jax.random.key(0), x, ())
        return copy.critic.norm.mean[...]

    real, fake = (jnp.mean(game.critic.out(x)) for x in (X + 5, jnp.ones((1, 3))))
    np.testing.assert_allclose(kept(X + 5), [0.25 * real + 0.5 * fake], rtol=1e-5)


def players(critic_steps=3):
    return [
        Player(
            name="critic",
            loss=objectives.critic(objectives.data, gan.non_saturating).of("generator"),
            optimizer=optax.adam(1e-3, b1=0.5),
            steps=critic_steps,
        ),
        Player(
            name="generator",
            loss=objectives.generator(objectives.data, gan.non_saturating).of("generator"),
            optimizer=optax.adam(2e-3, b1=0.5),
        ),
    ]


def everything(game):
    """Parameters and batch statistics."""
    return {**state.variables(game.model, nnx.Param), **state.batch_statistics(game.model)}


@pytest.mark.slow
def test_games_cut_anywhere_go_on_bit_for_bit():
    step = compile_rounds(players(), batch_size=8, num_rounds=2, donate=False)
    game = start(jax.random.key(1), normalized_game(), players())
    half, metrics = step(game, X)
    assert metrics.keys() == {
        "critic/loss",
        "critic/data_jsd",
        "critic/data_accuracy",
        "critic/data_coverage",
        "generator/loss",
        "generator/data_gradient_norm",
    }
    cut, _ = step(half, X)
    whole, _ = compile_rounds(players(), batch_size=8, num_rounds=4)(game, X)
    first, second = everything(whole), everything(cut)
    assert any(path.endswith("var") for path in first)
    assert all(np.array_equal(first[path], second[path]) for path in first)


@pytest.mark.parametrize(("mover", "num_moves"), [("critic", 6), ("generator", 2)])
def test_moves_are_counted_and_nothing_of_the_other_player_moves(mover, num_moves):
    """Neither its parameters nor its batch statistics, bitwise."""
    alone = [player for player in players() if player.name == mover]
    game = start(jax.random.key(1), normalized_game(), alone)
    before = everything(game)
    after, _ = compile_rounds(alone, batch_size=8, num_rounds=2, donate=False)(game, X)
    assert int(after.optimizers[mover][0].count) == num_moves
    for path, value in everything(after).items():
        assert np.array_equal(before[path], value) != path.startswith(mover), path


class Shifted(nnx.Module):
    """N(loc, scale^2)."""

    def __init__(self, loc, scale):
        self.loc, self.scale = loc, scale

    def sample(self, key, cond=None):
        return self.loc + self.scale * jax.random.normal(key, (1,))


def trained_critic(term, sampler, num_rounds, learning_rate):
    """A critic of fresh standard normal numbers against a fixed sampler, and its metrics."""
    critic = MLP(1, (32, 32), 1, activation=jax.nn.softplus, rngs=nnx.Rngs(0))
    schedule = optax.cosine_decay_schedule(learning_rate, num_rounds)
    player = Player(name="critic", loss=term, optimizer=optax.adam(schedule))
    game = start(jax.random.key(0), Game(generator=sampler, critic=critic), [player])
    rounds = compile_rounds(
        [player],
        batch_size=1024,
        num_rounds=num_rounds,
        transform=lambda key, x: jax.random.normal(key, x.shape),
    )
    game, metrics = rounds(game, jnp.zeros((1024, 1)))
    return game.model.critic, metrics


@pytest.mark.parametrize("loc", [1.0, pytest.param(0.0, marks=pytest.mark.slow)])
def test_a_trained_discriminator_is_p_over_p_plus_q(loc):
    """Within 0.02 where there is data; and where p = q the game's value is -log 4 within 0.02."""
    scale = 1.0 + 0.5 * loc
    term = objectives.critic(objectives.data, gan.minimax).of("generator")
    critic, metrics = trained_critic(term, Shifted(loc, scale), 1000, 1e-2)
    x = jnp.linspace(-2.5, 2.5, 51)
    p, q = (jax.scipy.stats.norm.pdf(x, *a) for a in ((0.0, 1.0), (loc, scale)))
    got = jax.nn.sigmoid(jax.vmap(critic)(x[:, None])[:, 0])
    np.testing.assert_allclose(got, p / (p + q), atol=0.02)
    if loc == 0:
        np.testing.assert_allclose(-np.mean(metrics["loss"][-100:]), -np.log(4), atol=0.02)


@pytest.mark.parametrize("loc", [2.0, pytest.param(-2.0, marks=pytest.mark.slow)])
def test_a_wasserstein_critic_knows_the_distance_of_shifted_normals(loc):
    """W_1(N(0, 1), N(m, 1)) = |m| within 5 %; weight 100 lets slopes exceed 1 by 1 %."""
    term = objectives.critic(objectives.data, gan.wasserstein)
    term = (term + 100.0 * objectives.wgan_lp(objectives.data)).of("generator")
    _, metrics = trained_critic(term, Shifted(loc, 1.0), 600, 3e-3)
    np.testing.assert_allclose(np.mean(metrics["data_w1"][-100:]), 2.0, rtol=0.05)


@pytest.mark.slow
def test_a_two_sided_penalty_finds_the_distance_too():
    """From a critic that starts flat, and so with no slope of the wrong sign."""
    term = objectives.critic(objectives.data, gan.wasserstein)
    term = (term + 100.0 * objectives.wgan_gp(objectives.data)).of("generator")

    class Flat(nnx.Module):
        def __init__(self):
            self.network = MLP(1, (32,), 1, rngs=nnx.Rngs(0))
            self.network.out.kernel[...] = jnp.zeros((32, 1))

        def __call__(self, x):
            return self.network(x)

    player = Player(name="critic", loss=term, optimizer=optax.adam(3e-3))
    game = start(jax.random.key(0), Game(generator=Shifted(-2.0, 1.0), critic=Flat()), [player])
    noise = lambda key, x: jax.random.normal(key, x.shape)
    play = compile_rounds([player], batch_size=512, num_rounds=800, transform=noise)
    _, metrics = play(game, jnp.zeros((512, 1)))
    np.testing.assert_allclose(np.mean(metrics["data_w1"][-100:]), 2.0, rtol=0.05)


def test_r1_is_that_of_the_bound():
    game = Game(
        generator=Implicit(StandardNormal(3), lambda z: z), critic=lambda x: 0.5 * jnp.sum(x**2)
    )
    term = objectives.r1(objectives.data).of("generator")
    expected = 0.5 * np.mean(np.sum(np.asarray(X) ** 2, axis=1))
    np.testing.assert_allclose(evaluate(term, game)[0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("term", "model", "error", "message"),
    [
        (
            objectives.critic(objectives.data, gan.hinge),
            normalized_game,
            TypeError,
            "Game has no sample, which the comparison 'data' draws from. If a part of it can, say",
        ),
        (
            objectives.mmd(objectives.latent),
            vae_game,
            TypeError,
            "Game has no prior, which the comparison 'latent' draws from",
        ),
        (
            objectives.wgan_gp(objectives.data).of("generator"),
            normalized_game,
            ValueError,
            "Normalized has batch normalization: leave it out",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_before_training(term, model, error, message):
    player = Player(name="critic", loss=term, optimizer=optax.sgd(0.1))
    with pytest.raises(error, match=message):
        start(jax.random.key(0), model(), [player])


def test_other_mistakes_are_refused():
    with pytest.raises(ValueError, match="num_projections must be at least 1, got 0"):
        objectives.sliced_wasserstein(objectives.data, num_projections=0)
    model = vae(nnx.Rngs(0))
    model.likelihood = object()
    with pytest.raises(TypeError, match="has a likelihood without sample"):
        objectives.mmd(objectives.joint).init(model)

    class Coin(nnx.Module):
        def sample(self, key, cond=None):
            return jax.random.randint(key, (2,), 0, 2)

    with pytest.raises(TypeError, match=r"must be real numbers, got float32, int32: give classes"):
        evaluate(objectives.mmd(objectives.data), Coin(), jnp.zeros((4, 2)))
