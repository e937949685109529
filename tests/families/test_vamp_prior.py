"""The mixture of posteriors as a prior, and the model that shares the posterior with it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

from genmix.families import Bernoulli, LatentVariableModel, Normal, StandardNormal
from genmix.families.latent.vamp_prior import VampPrior
from genmix.nets import MLP

INPUTS = jax.random.uniform(jax.random.key(0), (4, 5))
X = jnp.array([1.0, 0.0, 1.0, 1.0, 0.0])


def posterior():
    return Normal(MLP(5, (6,), 2, rngs=nnx.Rngs(1)))


def model(**options):
    likelihood = Bernoulli(MLP(2, (6,), 5, rngs=nnx.Rngs(2)))
    prior = VampPrior(INPUTS, **options)
    return LatentVariableModel(prior=prior, likelihood=likelihood, posterior=posterior())


def test_the_prior_is_the_mixture_of_the_posteriors():
    q = posterior()
    prior = VampPrior(INPUTS).made_of(q)
    z = jnp.array([0.3, -1.0])
    loc, scale = jax.vmap(q.parameters)(INPUTS)
    expected = np.log(np.mean(np.prod(stats.norm.pdf(z, loc, scale), axis=1)))
    np.testing.assert_allclose(prior.log_prob(z), expected, rtol=1e-5)
    one = VampPrior(INPUTS[:1]).made_of(q)
    np.testing.assert_allclose(one.log_prob(z), q.log_prob(z, INPUTS[0]), rtol=1e-6)


def test_draws_have_the_moments_of_the_mixture():
    """Means within 5 standard errors: false alarm 1e-6; variances within 10 %."""
    q = posterior()
    prior = VampPrior(INPUTS).made_of(q)
    loc, scale = jax.vmap(q.parameters)(INPUTS)
    draws = np.asarray(jax.jit(jax.vmap(prior.sample))(jax.random.split(jax.random.key(0), 20_000)))
    variance = np.mean(scale**2 + loc**2, axis=0) - np.mean(loc, axis=0) ** 2
    error = np.sqrt(variance / len(draws))
    assert np.all(np.abs(draws.mean(0) - loc.mean(0)) < 5 * error)
    np.testing.assert_allclose(draws.var(0), variance, rtol=0.1)


def test_pseudo_inputs_stay_within_bounds():
    prior = VampPrior(4 * INPUTS - 2)
    np.testing.assert_array_equal(prior.pseudo_inputs, jnp.clip(4 * INPUTS - 2, 0, 1))
    free = VampPrior(4 * INPUTS - 2, bounds=None)
    np.testing.assert_array_equal(free.pseudo_inputs, 4 * INPUTS - 2)


def test_the_model_weighs_as_its_parts_say():
    vamp = model()
    prior: Any = VampPrior(INPUTS).made_of(vamp.posterior)
    parts = LatentVariableModel(prior=prior, likelihood=vamp.likelihood, posterior=vamp.posterior)
    weights = [m.log_weight(jax.random.key(3), X) for m in (vamp, parts)]
    np.testing.assert_allclose(weights[0], weights[1], rtol=1e-6)
    assert vamp.sample(jax.random.key(4)).shape == (5,)


def test_training_moves_posterior_and_prior_together():
    """The gradient of the shared parameters is the sum of those of two copies."""
    vamp = model()
    gradient = jax.jit(jax.grad(lambda m: m.log_weight(jax.random.key(3), X)))
    two = LatentVariableModel(
        prior=vamp.prior, likelihood=vamp.likelihood, posterior=vamp.posterior
    )
    shared, apart = gradient(vamp), gradient(two)
    both = jax.tree.map(jnp.add, apart.posterior, apart.prior.posterior)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), shared.posterior, both
    )
    for leaf in jax.tree.leaves(nnx.state(shared, nnx.Param)):
        assert jnp.all(jnp.isfinite(leaf))
        assert jnp.any(leaf != 0)
    moved = jax.tree.map(jnp.add, vamp, shared)
    z = jnp.array([0.3, -1.0])
    by_hand = VampPrior(vars(moved)["prior"].raw[...]).made_of(moved.posterior).log_prob(z)
    assert moved.prior.log_prob(z) == by_hand
    assert by_hand != vamp.prior.log_prob(z)


def test_a_far_z_has_a_finite_log_probability():
    value, gradient = jax.value_and_grad(VampPrior(INPUTS).made_of(posterior()).log_prob)(
        jnp.array([1e6, 1e6])
    )
    assert jnp.isfinite(value)
    assert jnp.all(jnp.isfinite(gradient))


def test_inputs_on_and_beyond_a_bound_go_on_learning():
    """They stand for the bound, and their gradient is that of an input there."""
    z, inside = jnp.array([0.3, -1.0]), VampPrior(jnp.ones((1, 5)))
    beyond = VampPrior(jnp.full((1, 5), 1.5))
    log_prob = lambda prior: prior.made_of(posterior()).log_prob(z)
    slope = jax.grad(log_prob)
    assert log_prob(beyond) == log_prob(inside)
    np.testing.assert_allclose(slope(beyond).raw[...], slope(inside).raw[...], rtol=1e-5)
    assert jnp.all(slope(beyond).raw[...] != 0)


class OnlyDraws:
    def sample_and_log_prob(self, key, cond=None):
        return jnp.zeros(2), jnp.zeros(())


class OnlyDensity:
    def log_prob(self, x, cond=None):
        return jnp.zeros(())


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(TypeError, match="OnlyDraws has no log_prob"):
        VampPrior(INPUTS).made_of(OnlyDraws())
    with pytest.raises(TypeError, match="OnlyDensity cannot make a VampPrior: it has no sample"):
        VampPrior(INPUTS).made_of(OnlyDensity())
    with pytest.raises(ValueError, match=r"at least one pseudo-input, got shape \(0, 5\)"):
        VampPrior(INPUTS[:0])
    with pytest.raises(ValueError, match=r"low < high, got \(1.0, 0.0\)"):
        VampPrior(INPUTS, bounds=(1.0, 0.0))
    with pytest.raises(TypeError, match="OnlyDraws has no log_prob"):
        LatentVariableModel(
            prior=VampPrior(INPUTS), likelihood=StandardNormal(5), posterior=OnlyDraws()
        )
