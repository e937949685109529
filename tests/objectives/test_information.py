"""The bound on the information of codes, and the halves of the ELBO."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix import objectives
from genmix.densities import normal
from genmix.families import (
    Implicit,
    Independent,
    LatentVariableModel,
    Normal,
    OneHot,
    StandardNormal,
)
from genmix.nets import MLP, Joined
from genmix.objectives import Rate, comparison
from genmix.training import Game

NOISE = 0.3  # of a code that is seen with this probability as the other one
EVENTS = jnp.zeros((20_000, 1))


class Channel(nnx.Module):
    """x is the class, but for a flip; its predictor has one parameter."""

    def __init__(self, log_odds):
        class_of = OneHot(lambda _: jnp.zeros(2), 2)
        flip = OneHot(lambda _: jnp.log(jnp.array([1 - NOISE, NOISE])), 2)
        sent = lambda z: z[0] * z[1][0] + z[0][::-1] * z[1][1]
        self.generator = Implicit(Independent((class_of, flip)), sent)
        self.log_odds = nnx.Param(jnp.asarray(log_odds))
        self.predictor = OneHot(lambda x: self.log_odds * x, 2)


def bound(log_odds):
    term = objectives.barber_agakov(
        "class",
        lambda z: z[0],
        float(np.log(2)),
        by="predictor",
    ).of("generator")
    return term(Channel(log_odds), jax.random.key(0), EVENTS, ())[0]


def test_the_bound_is_the_information_where_the_predictor_is_right():
    """Of a binary symmetric channel: ln 2 - H(0.3)."""
    loss = jax.jit(jax.value_and_grad(bound))
    entropy = -NOISE * np.log(NOISE) - (1 - NOISE) * np.log(1 - NOISE)
    best = float(np.log((1 - NOISE) / NOISE))
    # Standard error of 20,000 draws 0.0027; 4.5 of them: false alarm 1e-5.
    value, slope = loss(best)
    np.testing.assert_allclose(-value, np.log(2) - entropy, atol=0.0124)
    assert abs(slope) < 0.02
    for wrong in (0.0, 3.0):
        value, slope = loss(wrong)
        assert -value < np.log(2) - entropy - 0.0124
        assert slope * (wrong - best) > 0  # minimising leads to the best one
    np.testing.assert_allclose(loss(0.0)[0], 0.0, atol=1e-5)


class Signs:
    """-1 or 1, so that the mean of squares has no error."""

    def sample(self, key, cond=None):
        return jax.random.rademacher(key, (1,), jnp.float32)


class Line(nnx.Module):
    """x = gain * c, of which the predictor is N(guess * x, 1)."""

    def __init__(self, gain, guess):
        self.gain, self.guess = nnx.Param(jnp.asarray(gain)), nnx.Param(jnp.asarray(guess))
        self.generator = Implicit(Signs(), lambda c: self.gain * c)

    def log_prob(self, c, x):
        return jnp.sum(normal.log_prob(c, self.guess * x, 1.0))


def test_generator_and_predictor_learn_from_the_information():
    """Minus the bound is (1 - gain * guess)^2 / 2 and a constant, for codes of size 1."""

    def loss(gain, guess):
        term = objectives.barber_agakov("sign", lambda z: z, 0.5, by=lambda m: m).of("generator")
        return term(Line(gain, guess), jax.random.key(0), EVENTS[:4], ())[0]

    value, slopes = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(2.0, 0.25)
    np.testing.assert_allclose(value, 0.5 * np.log(2 * np.pi) + 0.125 - 0.5, rtol=1e-6)
    np.testing.assert_allclose(slopes, (-0.5 * 0.25, -0.5 * 2.0), rtol=1e-6)


def test_what_cannot_be_informed_is_refused():
    term = lambda of, by: objectives.barber_agakov("c", lambda z: z, 0.0, by=by).of(of)
    model = Channel(0.0)
    with pytest.raises(TypeError, match="Channel is no Implicit, whose base draws the code 'c'"):
        term(lambda m: m, "predictor").init(model)
    with pytest.raises(TypeError, match="Implicit cannot predict the code 'c': it has no log_prob"):
        term("generator", "generator").init(model)


def autoencoder():
    rngs = nnx.Rngs(0)
    return LatentVariableModel(
        prior=StandardNormal(2),
        likelihood=Normal(MLP(2, (4,), 3, rngs=rngs)),
        posterior=Normal(MLP(3, (4,), 2, rngs=rngs)),
    )


def test_reconstruction_and_rate_are_the_elbo():
    x = jax.random.normal(jax.random.key(1), (5, 3))
    model, many = autoencoder(), jnp.tile(x, (2000, 1))

    @jax.jit
    def evaluate(model, x):
        keys = jax.random.split(jax.random.key(0))
        halves = objectives.reconstruction() + objectives.rate()
        whole = objectives.elbo(rate=Rate(analytic=True))
        count = jnp.zeros((), jnp.int32)
        return halves(model, keys[0], x, ((), ())), whole(model, keys[1], x, count)

    (value, (metrics, _)), (expected, (same, _)) = evaluate(model, many)
    np.testing.assert_allclose(metrics["rate"], same["rate"], rtol=1e-5)
    np.testing.assert_allclose(value, metrics["rate"] - metrics["log_likelihood"], rtol=1e-6)
    # Of two times 10,000 draws each; 5 standard errors at a spread of about 5 nats.
    np.testing.assert_allclose(value, expected, atol=0.35)


def test_features_stand_for_pixels():
    class Sum(nnx.Module):
        def features(self, x):
            return jnp.sum(x, keepdims=True)

    term = objectives.feature_likelihood(Sum.features).of("model")
    x, game = jnp.ones((4, 3)), Game(model=autoencoder(), critic=Sum())
    value, (metrics, _) = term(game, jax.random.key(0), x, ())
    assert -value == metrics["feature_log_likelihood"] <= -0.5 * np.log(2 * np.pi)


def test_terms_of_a_part_of_the_batch_and_of_the_event():
    rngs = nnx.Rngs(0)
    x = jax.random.normal(jax.random.key(1), (6, 3))
    model = autoencoder()
    plain = objectives.rate()
    pair = (jnp.zeros(6), x)
    value = plain.on(lambda pair: pair[1])(model, jax.random.key(0), pair, ())[0]
    np.testing.assert_allclose(value, plain(model, jax.random.key(0), x, ())[0], rtol=1e-6)

    first = objectives.part_of(objectives.latent, "first", lambda z: z[:1])
    real, fake = comparison.pairs(first, model, jax.random.key(2), x)
    whole = comparison.pairs(objectives.latent, model, jax.random.key(2), x)
    np.testing.assert_array_equal(real, whole[0][:, :1])
    np.testing.assert_array_equal(fake, whole[1][:, :1])
    decoded, means = comparison.pairs(objectives.decoded, model, jax.random.key(3), x)
    np.testing.assert_array_equal(decoded, x)
    assert means.shape == x.shape
    network = Joined(MLP(4, (), 2, rngs=rngs))
    arrays = (jnp.ones(3), {"c": jnp.full((1, 1), 2.0)})
    expected = network.network(jnp.array([1.0, 1.0, 1.0, 2.0]))
    np.testing.assert_array_equal(network(arrays), expected)
