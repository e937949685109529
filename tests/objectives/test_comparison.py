"""What terms compare, and what can be trained by it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix import objectives
from genmix.divergences import gan
from genmix.families import (
    Bernoulli,
    Implicit,
    LatentVariableModel,
    Normal,
    StandardNormal,
    StraightThrough,
)
from genmix.nets import MLP, state
from genmix.objectives import comparison
from genmix.training import Game


def game(generator):
    return Game(generator=generator, critic=lambda x: x)


def bernoulli_vae(wrap=lambda part: part):
    rngs = nnx.Rngs(0)
    return LatentVariableModel(
        prior=StandardNormal(2),
        likelihood=wrap(Bernoulli(MLP(2, (8,), 3, rngs=rngs))),
        posterior=Normal(MLP(3, (8,), 2, rngs=rngs)),
    )


@pytest.mark.parametrize(
    "term",
    [
        lambda compared: objectives.generator(compared, gan.non_saturating).of("generator"),
        lambda compared: objectives.feature_matching(compared, lambda critic, x: x).of("generator"),
        lambda compared: objectives.mmd(compared).of("generator"),
        lambda compared: objectives.sliced_wasserstein(compared).of("generator"),
    ],
)
def test_draws_without_a_gradient_cannot_train(term):
    with pytest.raises(TypeError, match="samples of LatentVariableModel have no gradient for its"):
        term(objectives.data).init(game(bernoulli_vae()))
    term(objectives.data).init(game(bernoulli_vae(StraightThrough)))
    term(objectives.decoded).init(game(bernoulli_vae()))
    term(objectives.data).init(game(Implicit(StandardNormal(2), MLP(2, (8,), 3, rngs=nnx.Rngs(0)))))
    term(objectives.data).init(game(StandardNormal(3)))  # nothing to train, as beside a flow's MLE


def test_a_critic_may_judge_draws_without_a_gradient():
    objectives.critic(objectives.data, gan.non_saturating).of("generator").init(
        game(bernoulli_vae())
    )


@pytest.mark.parametrize(("penalty", "expected"), [(objectives.r1, 0.0), (objectives.wgan_gp, 1.0)])
def test_the_condition_has_no_part_in_a_penalty(penalty, expected):
    """The critic is flat in x and steep in the class."""
    critic = lambda pair: jnp.vdot(jnp.arange(10.0), pair[1])
    model = Game(generator=Conditional(), critic=critic)
    batch = (jnp.zeros((4, 3)), jax.nn.one_hot(jnp.arange(4), 10))
    value, _ = penalty(objectives.conditional).of("generator")(model, jax.random.key(0), batch, ())
    np.testing.assert_allclose(value, expected)


class Conditional(nnx.Module):
    def sample(self, key, cond=None):
        return jax.random.normal(key, (3,))


X = jax.random.normal(jax.random.key(9), (6, 2))


class Scaled(nnx.Module):
    """factor * condition + noise, where the condition is 1 if none is given."""

    def __init__(self, factor, noise):
        self.factor, self.noise = nnx.Param(jnp.asarray(factor)), noise

    def mean(self, cond=None):
        return self.factor * (jnp.ones(2) if cond is None else cond)

    def sample(self, key, cond=None):
        mean = self.mean(cond)
        return mean + self.noise * jax.random.normal(key, mean.shape)


class Parts(nnx.Module):
    """Draws of x are 3 z, and draws of z are x / 2."""

    def __init__(self, *, prior_noise=1.0, likelihood_noise=0.0):
        self.prior = Scaled(1.0, prior_noise)
        self.likelihood = Scaled(3.0, likelihood_noise)
        self.posterior = Scaled(0.5, 0.0)

    def decode(self, z):
        return self.likelihood.mean(z)


def test_a_critic_of_latents_teaches_the_posterior_alone():
    """Where the score is w . z and z is a x, the slope of -mean(score) in a is -mean(w . x)."""
    critic = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
    game = Game(generator=Parts(), critic=critic)
    term = objectives.generator(objectives.latent, gan.wasserstein).of("generator")

    @jax.jit
    @jax.grad
    def slopes(parameters):
        return term(state.with_variables(game, parameters), jax.random.key(0), X, ())[0]

    got = slopes(state.variables(game, nnx.Param))
    expected = -jnp.mean(X @ critic.kernel[...])
    assert abs(expected) > 0.1
    np.testing.assert_allclose(got.pop("generator.posterior.factor"), expected, rtol=1e-5)
    assert not any(slope.any() for slope in got.values())


def test_both_events_of_a_joint_are_pairs_that_belong_together():
    real, fake = comparison.pairs(objectives.joint, Parts(), jax.random.key(0), X)
    np.testing.assert_array_equal(real[0], X)
    np.testing.assert_allclose(real[1], X / 2, rtol=1e-6)
    assert len(np.unique(fake[1])) == X.size
    np.testing.assert_allclose(fake[0], 3 * fake[1], rtol=1e-6)


def test_what_is_decoded_has_no_noise_of_the_likelihood():
    parts = Parts(prior_noise=0.0, likelihood_noise=1.0)
    real, fake = comparison.pairs(objectives.decoded, parts, jax.random.key(0), X)
    np.testing.assert_array_equal(real, X)
    np.testing.assert_allclose(fake, jnp.full_like(X, 3.0), rtol=1e-6)
