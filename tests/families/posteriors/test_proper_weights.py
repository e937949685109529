"""Weights of every wrapper, alone and nested: their mean is p(x), weighted draws fit p(z | x)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genmix.families import LatentVariableModel, Resampled
from tests import linear_gaussian
from tests.families.posteriors import targets


def check(draws, log_px, features, expected):
    """Mean weight and weighted means within 4 standard errors: false alarm 1e-4 a figure."""
    _, log_weights = draws
    weights = np.exp(np.asarray(log_weights, float) - log_px)
    values = weights[:, None] * np.concatenate([np.ones((len(weights), 1)), features], axis=1)
    error = values.std(axis=0) / np.sqrt(len(values))
    assert np.all(error < 0.05)
    assert np.all(np.abs(values.mean(axis=0) - np.append(1, expected)) < 4 * error)


def weighted(proposal, log_joint, cond, num_draws):
    def one(key):
        z, log_q = proposal.propose(key, log_joint, cond)
        return z, log_joint(z) - log_q

    return jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), num_draws))


@pytest.mark.parametrize("name", list(targets.CONTINUOUS))
def test_weighted_draws_of_a_linear_model_are_those_of_its_posterior(name):
    draws = weighted(targets.CONTINUOUS[name](), targets.log_joint, targets.X, 20_000)
    z = np.asarray(draws[0], float)
    mean, covariance = targets.exact_posterior()
    features = np.concatenate([z, z[:, :1] * z], axis=1)
    second = covariance[0] + mean[0] * mean
    check(draws, linear_gaussian.exact_log_prob(1), features, np.append(mean, second))


@pytest.mark.parametrize("name", list(targets.DISCRETE))
def test_weighted_draws_of_a_table_are_those_of_its_posterior(name):
    draws = weighted(targets.DISCRETE[name](), targets.table_joint, None, 20_000)
    log_px = np.logaddexp.reduce(targets.JOINT)
    features = np.eye(targets.NUM_STATES)[np.asarray(draws[0])]
    check(draws, log_px, features, np.exp(targets.JOINT - log_px))


@pytest.mark.parametrize("name", ["hamiltonian", "resampled", "rejecting", "annealed"])
def test_the_model_weighs_with_the_proposal_aimed_at_its_parts(name):
    """Mean weight of the model within 4 standard errors of p(x): false alarm 1e-4."""
    model = targets.model(targets.CONTINUOUS[name]())
    keys = jax.random.split(jax.random.key(1), 10_000)
    log_weights = jax.jit(jax.vmap(lambda key: model.log_weight(key, targets.X)))(keys)
    ratio = np.exp(np.asarray(log_weights, float) - linear_gaussian.exact_log_prob(1))
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / 100
    assert model.encode(jax.random.key(2), targets.X).shape == (2,)


def test_a_prior_that_is_estimated_is_one_estimate_for_all_draws():
    """Resampled over two layers: the inner noise is the weight's own; 4 standard errors."""
    two = linear_gaussian.two_layers()
    model = LatentVariableModel(
        prior=two.prior, likelihood=two.likelihood, posterior=Resampled(two.posterior, 4)
    )
    keys = jax.random.split(jax.random.key(0), 20_000)
    log_weights = jax.jit(jax.vmap(lambda key: model.log_weight(key, targets.X)))(keys)
    ratio = np.exp(np.asarray(log_weights, float) - linear_gaussian.exact_log_prob(2))
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(len(ratio))
    keys = jax.random.split(jax.random.key(1), 20_000)
    plain = jax.jit(jax.vmap(lambda key: two.log_weight(key, targets.X)))(keys)
    assert jnp.mean(log_weights) > jnp.mean(plain) + 0.02


def test_one_draw_resampled_is_the_proposal_itself():
    one = targets.Resampled(targets.plain(), 1)
    draws = weighted(one, targets.log_joint, targets.X, 100)
    np.testing.assert_allclose(
        draws[1],
        jax.vmap(lambda z: targets.log_joint(z) - targets.plain().log_prob(z, targets.X))(draws[0]),
        atol=1e-5,
    )


def test_no_possible_draw_weighs_nothing_with_no_gradient():
    impossible = lambda z: jnp.where(jnp.sum(z) > 1e9, jnp.sum(z), -jnp.inf)

    def weigh(proposal):
        z, log_q = proposal.propose(jax.random.key(0), impossible, targets.X)
        return impossible(z) - log_q

    value, gradient = jax.jit(jax.value_and_grad(weigh))(targets.Resampled(targets.plain(), 3))
    assert value == -jnp.inf
    assert all(jnp.all(leaf == 0) for leaf in jax.tree.leaves(gradient))
