"""What terms compare, and what can be trained by it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix.bounds import gan
from genmix.families import (
    Bernoulli,
    FactorizedNormal,
    Implicit,
    LatentVariableModel,
    StandardNormal,
    StraightThrough,
)
from genmix.nets import MLP
from genmix.training import adversarial, comparison, distances


class Game(nnx.Module):
    def __init__(self, generator, critic=None):
        self.generator = generator
        self.critic = critic


OF = {"of": lambda game: game.generator}


def bernoulli_vae(wrap=lambda part: part):
    rngs = nnx.Rngs(0)
    return LatentVariableModel(
        prior=StandardNormal(2),
        likelihood=wrap(Bernoulli(MLP(2, (8,), 3, rngs=rngs))),
        posterior=FactorizedNormal(MLP(3, (8,), 4, rngs=rngs)),
    )


@pytest.mark.parametrize(
    "term",
    [
        lambda compared: adversarial.generator(compared, gan.non_saturating, **OF),
        lambda compared: adversarial.feature_matching(compared, lambda critic, x: x, **OF),
        lambda compared: distances.mmd(compared, **OF),
        lambda compared: distances.sliced_wasserstein(compared, **OF),
    ],
)
def test_draws_without_a_gradient_cannot_train(term):
    with pytest.raises(TypeError, match="samples of LatentVariableModel have no gradient for its"):
        term(comparison.data).init(Game(bernoulli_vae()))
    term(comparison.data).init(Game(bernoulli_vae(StraightThrough)))
    term(comparison.decoded).init(Game(bernoulli_vae()))
    term(comparison.data).init(Game(Implicit(StandardNormal(2), MLP(2, (8,), 3, rngs=nnx.Rngs(0)))))
    term(comparison.data).init(Game(StandardNormal(3)))  # nothing to train, as beside a flow's MLE


def test_a_critic_may_judge_draws_without_a_gradient():
    adversarial.critic(comparison.data, gan.non_saturating, **OF).init(Game(bernoulli_vae()))


@pytest.mark.parametrize(
    ("penalty", "expected"), [(adversarial.r1, 0.0), (adversarial.wgan_gp, 1.0)]
)
def test_the_condition_has_no_part_in_a_penalty(penalty, expected):
    """The critic is flat in x and steep in the class."""
    critic = lambda pair: jnp.vdot(jnp.arange(10.0), pair[1])
    model = Game(Conditional(), critic)
    batch = (jnp.zeros((4, 3)), jax.nn.one_hot(jnp.arange(4), 10))
    value, _ = penalty(comparison.conditional, **OF)(model, jax.random.key(0), batch, ())
    np.testing.assert_allclose(value, expected)


class Conditional(nnx.Module):
    def sample(self, key, cond=None):
        return jax.random.normal(key, (3,))
