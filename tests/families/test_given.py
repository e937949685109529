"""A conditional part trained on pairs, against the exact density of x given c."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from genmix import bounds, evaluation, objectives
from genmix.densities import normal
from genmix.families import Given, LatentVariableModel, Normal, StandardNormal, log_weight
from genmix.nets import MLP, Joined
from genmix.training import Plan, Player, fit

PAIRS = tuple(jax.random.normal(jax.random.key(9), (2, 6, 2)))


def conditional_vae():
    rngs = nnx.Rngs(0)
    return LatentVariableModel(
        prior=Normal(MLP(2, (4,), 3, rngs=rngs)),
        likelihood=Normal(Joined(MLP(5, (4,), 2, rngs=rngs))),
        posterior=Normal(Joined(MLP(4, (4,), 3, rngs=rngs))),
    )


def test_the_weights_are_those_of_the_part():
    model, key = conditional_vae(), jax.random.key(0)
    again = jax.random.clone(key)
    x, c = (a[0] for a in PAIRS)
    np.testing.assert_allclose(
        log_weight(Given(model), key, (x, c)), model.log_weight(again, x, c), rtol=1e-6
    )


def test_bounds_and_evaluation_take_pairs():
    """Of an exact density both are the mean of log p(x | c)."""
    part = Normal(MLP(2, (4,), 2, rngs=nnx.Rngs(0)))
    expected = np.mean([part.log_prob(x, c) for x, c in zip(*PAIRS, strict=True)])
    for term in (objectives.elbo(), objectives.iwae(3, estimator=bounds.reparameterized)):
        loss, _ = term(Given(part), jax.random.key(0), PAIRS, term.init(Given(part)))
        np.testing.assert_allclose(loss, -expected, rtol=1e-5)
    found = evaluation.log_likelihood(jax.random.key(0), Given(part), PAIRS, num_particles=1)
    np.testing.assert_allclose(-found.nll, expected, rtol=1e-5)


def test_a_regression_is_learned():
    """x = 3 c + N(0, 1/4): the NLL reaches the entropy, 0.726 nats."""
    c = np.random.default_rng(1).normal(size=(2000, 1)).astype(np.float32)
    x = 3 * c + 0.5 * np.random.default_rng(2).normal(size=c.shape).astype(np.float32)
    part = Normal(MLP(1, (), 1, rngs=nnx.Rngs(0)))
    player = Player(loss=objectives.elbo(), optimizer=optax.adam(0.03))
    found = fit(
        jax.random.key(0), Given(part), [player], (x, c), Plan(num_rounds=3000, batch_size=100)
    )
    mean = found.model.part.mean(jnp.array([2.0]))
    np.testing.assert_allclose(mean, [6.0], atol=0.15)
    nll = evaluation.log_likelihood(jax.random.key(1), found.model, (x, c), num_particles=1).nll
    entropy = -np.mean(normal.log_prob(x, 3 * c, 0.5))
    assert abs(nll - entropy) < 0.02


def test_what_is_no_pair_is_refused():
    with pytest.raises(TypeError, match=r"takes pairs \(event, condition\).* got "):
        Given(StandardNormal(2)).log_weight(jax.random.key(0), PAIRS[0][0])
    with pytest.raises(TypeError, match="part"):
        Given(object())  # pyright: ignore[reportArgumentType]
