"""Data that a model cannot explain are told from a learning rate that is too high."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from genmix import Bernoulli, LatentVariableModel, Normal, StandardNormal, nets, objectives
from genmix.families import Uniform
from genmix.training import Plan, Player, Run, fit

BITS = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], np.float32)


def train(data, prior=None):
    rngs = nnx.Rngs(0)
    model = LatentVariableModel(
        prior=prior or StandardNormal(1),
        likelihood=Bernoulli(nets.MLP(1, (), 2, rngs=rngs)),
        posterior=Normal(nets.MLP(2, (), 1, rngs=rngs)),
    )
    player = Player(loss=objectives.elbo(), optimizer=optax.sgd(0.1))
    plan = Plan(num_rounds=1, batch_size=3)
    return fit(jax.random.key(0), model, [player], data, plan, Run(label=None))


def test_levels_given_to_bernoulli_are_off_its_support():
    message = (
        r"(?s)round 1 is inf.*Nothing has been learned yet: log_likelihood is -inf, as an x is off "
        r"the likelihood's support.*data has float32 from 0.0 to 255.0"
    )
    with pytest.raises(FloatingPointError, match=message) as caught:
        train(255 * BITS)
    assert "learning rate" not in str(caught.value)


def test_data_that_are_not_finite_are_named():
    data = np.where(BITS > 0, np.nan, BITS)
    with pytest.raises(FloatingPointError, match="learned yet: the data hold NaN or infinities"):
        train(data)


def test_draws_off_the_priors_support_are_named():
    message = "rate is inf, as a z that the posterior draws is off the prior's support"
    with pytest.raises(FloatingPointError, match=message):
        train(BITS, Uniform(1, low=50.0, high=51.0))
    assert np.isfinite(train(jnp.asarray(BITS)).history["loss"][1]).all()
