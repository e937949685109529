"""A deep belief network of 12 units against sums over all its states."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy import stats

from genmix.densities import normal
from genmix.families import StandardNormal
from genmix.families.energy import restricted_boltzmann as rbm
from genmix.families.energy.deep_belief import DeepBelief
from genmix.families.energy.restricted_boltzmann import RestrictedBoltzmann
from genmix.families.explicit.normalized import Normalized
from genmix.objectives import up_down
from genmix.training import Player, compile_rounds, layerwise, start

SIZES = (5, 4, 3)


def states(n):
    return jnp.asarray(list(itertools.product([0.0, 1.0], repeat=n)))


def machine(num_visible, num_hidden, seed, scale=1.0, visible: Any = None):
    model = RestrictedBoltzmann(num_visible, num_hidden, visible=visible, rngs=nnx.Rngs(0))
    rng = np.random.default_rng(seed)
    for parameter in (model.weights, model.visible_bias, model.hidden_bias):
        parameter[...] = jnp.asarray(scale * rng.normal(size=parameter[...].shape))
    return model


def network(scale=1.0):
    return DeepBelief([machine(5, 4, 0, scale), machine(4, 3, 1, scale)])


def exact_log_prob(model, v):
    """log of the sum over h1 of p(v | h1) p(h1)."""
    h = states(4)
    log_prior = jax.vmap(model.top.log_unnormalized)(h) - rbm.log_partition(model.top)
    log_likelihood = jax.vmap(lambda h: model.likelihoods[0].log_prob(v, h))(h)
    return jax.nn.logsumexp(log_prior + log_likelihood)


def exact_bound(model, v):
    h = states(4)
    log_q = jax.vmap(lambda h: model.posteriors[0].log_prob(h, v))(h)
    log_joint = jax.vmap(lambda h: model.likelihoods[0].log_prob(v, h))(h)
    log_joint += jax.vmap(model.top.log_unnormalized)(h) - rbm.log_partition(model.top)
    return jnp.sum(jnp.exp(log_q) * (log_joint - log_q))


def test_weights_are_unbiased_and_their_logs_bound_the_likelihood():
    """Each of 32 log p(v), and of 32 bounds, within 5 of its standard errors.

    False alarm below 1e-4.
    """
    model, v = network(), states(5)
    exact = jax.jit(jax.vmap(lambda v: exact_log_prob(model, v)))(v)
    np.testing.assert_allclose(jax.nn.logsumexp(exact), 0.0, atol=1e-5)
    weighted = model.weighted(rbm.log_partition(model.top))
    draw = jax.jit(jax.vmap(jax.vmap(weighted.log_weight, (0, None)), (0, 0)))
    log_weights = draw(jax.random.split(jax.random.key(1), (32, 4000)), v)
    ratios = np.exp(np.asarray(log_weights - exact[:, None], np.float64))
    error = np.std(ratios, axis=1) / np.sqrt(4000)
    assert np.all(np.abs(np.mean(ratios, axis=1) - 1) < 5 * error)
    assert 0.001 < np.max(error) < 0.1

    bounds = jax.jit(jax.vmap(lambda v: exact_bound(model, v)))(v)
    assert np.all(bounds <= exact + 1e-5)
    assert np.max(exact - bounds) > 0.1
    error = np.std(log_weights, axis=1) / np.sqrt(4000)
    assert np.all(np.abs(np.mean(log_weights, axis=1) - bounds) < 5 * error)


def test_a_transposed_machine_on_top_changes_nothing():
    """p(h1) is then the lower machine's own, and its posterior exact: weights without variance."""
    lower, upper = machine(5, 4, 0), machine(4, 5, 1)
    upper.weights[...] = lower.weights[...].T
    upper.visible_bias[...] = lower.hidden_bias[...]
    upper.hidden_bias[...] = lower.visible_bias[...]
    weighted = DeepBelief([lower, upper]).weighted(rbm.log_partition(upper))
    v = states(5)
    keys = jax.random.split(jax.random.key(2), 32)
    got = jax.jit(jax.vmap(weighted.log_weight))(keys, v)
    expected = jax.vmap(lower.log_unnormalized)(v) - rbm.log_partition(lower)
    np.testing.assert_allclose(got, expected, atol=2e-5)


def test_draws_are_those_of_the_distribution():
    """Chi-squared of 20,000 draws, 31 degrees, after chains of 40 steps: false alarm 1e-4."""
    model = network(0.7)
    weighted = model.weighted(rbm.log_partition(model.top), num_steps=40)
    v = jax.jit(jax.vmap(weighted.sample))(jax.random.split(jax.random.key(3), 20_000))
    number = np.asarray(v @ (2.0 ** jnp.arange(5)[::-1]), int)
    exact = np.asarray(jax.vmap(lambda v: exact_log_prob(model, v))(states(5)), np.float64)
    expected = 20_000 * np.exp(exact)
    statistic = np.sum((np.bincount(number, minlength=32) - expected) ** 2 / expected)
    assert statistic < stats.chi2.isf(1e-4, 31)


def test_up_down_raises_the_likelihood():
    """From machines that know nothing, to within 0.6 nats of the data's entropy."""
    x = jnp.repeat(states(5)[jnp.array([3, 12, 17, 31])], 16, axis=0)
    likelihood = jax.jit(
        lambda model: jnp.mean(jax.vmap(lambda v: exact_log_prob(model, v))(x[::16]))
    )
    model = network(0.1)
    before = likelihood(model)
    player = Player(loss=up_down(3), optimizer=optax.adam(0.02))
    program = compile_rounds([player], batch_size=64, num_rounds=1500)
    state, metrics = program(start(jax.random.key(4), model, [player]), x)
    after = likelihood(state.model)
    assert before < -3.0
    assert after > -np.log(4) - 0.6
    assert set(metrics) == {"loss", "wake", "sleep", "top"}


def test_data_of_the_next_machine_are_hidden_states():
    """Means of 20,000 draws through two machines within 5 errors of sums over the states."""
    machines = [machine(5, 4, 0), machine(4, 3, 1)]
    v = jnp.array([1.0, 0.0, 1.0, 1.0, 0.0])
    flipped = layerwise.upward(machines, lambda key, x: 1 - x)
    h = jax.jit(flipped)(jax.random.key(5), jnp.tile(1 - v, (20_000, 1)))
    middle = states(4)
    logits = machines[0].hidden_field(v)
    log_q = jnp.sum(
        jnp.where(middle == 1, -jnp.logaddexp(0, -logits), -jnp.logaddexp(0, logits)), 1
    )
    expected = jnp.exp(log_q) @ jax.nn.sigmoid(jax.vmap(machines[1].hidden_field)(middle))
    np.testing.assert_allclose(np.mean(h, axis=0), expected, atol=5 * 0.5 / np.sqrt(20_000))
    unchanged = layerwise.upward([])(jax.random.key(6), jnp.ones((2, 5)))
    np.testing.assert_array_equal(unchanged, jnp.ones((2, 5)))


def test_refusals():
    with pytest.raises(ValueError, match="needs two machines, got 1"):
        DeepBelief([machine(5, 4, 0)])
    with pytest.raises(ValueError, match=r"machine 1 must have 4 visible units, .* got 3"):
        DeepBelief([machine(5, 4, 0), machine(3, 2, 1)])
    with pytest.raises(ValueError, match="machine 0 must have binary visible units"):
        DeepBelief([machine(5, 4, 0, visible=normal.Normal(scale=1.0)), machine(4, 3, 1)])
    with pytest.raises(ValueError, match="num_steps must be at least 1, got 0"):
        up_down(0)
    with pytest.raises(TypeError, match="up_down trains a DeepBelief, got RestrictedBoltzmann"):
        up_down(1).init(machine(5, 4, 0))
    with pytest.raises(TypeError, match="StandardNormal has no log_unnormalized"):
        Normalized(StandardNormal(2), 0.0)
    with pytest.raises(ValueError, match="num_steps must be at least 1, got 0"):
        Normalized(machine(5, 4, 0), 0.0, num_steps=0)
    with pytest.raises(TypeError, match="RestrictedBoltzmann cannot be drawn from"):
        Normalized(machine(5, 4, 0), 0.0).sample(jax.random.key(0))
