import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from tensorflow_probability.substrates import jax as tfp

from genmix.densities import gumbel_softmax, relaxed_bernoulli

LOGITS = np.array([0.3, -1.0, 2.0, 0.0])
X = np.array([0.1, 0.2, 0.3, 0.4])
VALUE_AND_GRAD = jax.jit(jax.value_and_grad(gumbel_softmax.log_prob, argnums=(0, 1, 2)))
LOG_VALUE_AND_GRAD = jax.jit(jax.value_and_grad(gumbel_softmax.log_prob_of_log, argnums=(0, 1, 2)))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("temperature", [0.2, 3.0])
def test_log_prob_matches_tfp(variant, temperature):
    parameters = jnp.array(LOGITS), jnp.array(temperature)
    reference = tfp.distributions.RelaxedOneHotCategorical(temperature, logits=parameters[0])
    got = variant(gumbel_softmax.log_prob)(jnp.array(X), *parameters)
    np.testing.assert_allclose(got, reference.log_prob(X), rtol=1e-10)
    reference = tfp.distributions.ExpRelaxedOneHotCategorical(temperature, logits=parameters[0])
    got = variant(gumbel_softmax.log_prob_of_log)(jnp.log(X), *parameters)
    np.testing.assert_allclose(got, reference.log_prob(np.log(X)), rtol=1e-10)


@pytest.mark.usefixtures("x64")
def test_two_categories_are_a_relaxed_bernoulli():
    x, logits = jnp.array([0.3, 0.7]), jnp.array([1.2, -0.4])
    expected = relaxed_bernoulli.log_prob(0.3, 1.6, 0.6)
    np.testing.assert_allclose(gumbel_softmax.log_prob(x, logits, 0.6), expected, rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_integrates_to_one():
    log_prob = jax.jit(jax.vmap(gumbel_softmax.log_prob, (0, None, None)))
    u = special.expit(np.linspace(-30, 30, 601))  # even steps of the logit: no edges to resolve
    du = 0.1 * u * (1 - u)
    p = np.exp(log_prob(np.stack([u, 1 - u], axis=1), LOGITS[:2], 0.8))
    np.testing.assert_allclose(np.sum(p * du), 1.0, rtol=1e-8)
    a, b = (v.ravel() for v in np.meshgrid(u, u))
    p = np.exp(log_prob(np.stack([a, (1 - a) * b, (1 - a) * (1 - b)], axis=1), LOGITS[:3], 0.8))
    np.testing.assert_allclose(np.sum(p * np.outer(du, du).ravel() * (1 - a)), 1.0, rtol=1e-8)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-10, 10, width=32), min_size=3, max_size=3))
def test_off_the_open_simplex_is_minus_inf_with_zero_gradient(x):
    on_simplex = min(x) > 0 and abs(sum(x) - 1) < 1e-3
    x = [0.0, 0.5, 0.5] if on_simplex else x
    value, gradient = VALUE_AND_GRAD(jnp.array(x), jnp.array([0.5, 1.0, 3.0]), 0.7)
    assert value == -jnp.inf
    assert all(jnp.all(g == 0) for g in gradient)


@pytest.mark.parametrize("y", [[-jnp.inf, 0.0, -jnp.inf], [0.0, 0.0, -1.0], [jnp.inf, 0.0, 0.0]])
def test_log_off_the_simplex_is_minus_inf_with_zero_gradient(y):
    value, gradient = LOG_VALUE_AND_GRAD(jnp.array(y), jnp.array([0.5, 1.0, 3.0]), 0.7)
    assert value == -jnp.inf
    assert all(jnp.all(g == 0) for g in gradient)


def test_bad_argument_is_nan():
    good, off = jnp.array([0.2, 0.3, 0.5]), jnp.ones(3)
    nan = good.at[0].set(jnp.nan)
    log_prob, of_log = jax.jit(gumbel_softmax.log_prob), jax.jit(gumbel_softmax.log_prob_of_log)
    for logits, temperature in [(good, 0.0), (good, -1.0), (good, jnp.nan), (nan, 1.0)]:
        for x in (good, off):
            assert jnp.isnan(log_prob(x, logits, temperature))
            assert jnp.isnan(of_log(jnp.log(x), logits, temperature))
        for f in (gumbel_softmax.sample, gumbel_softmax.straight_through):
            assert jnp.all(jnp.isnan(f(jax.random.key(0), logits, temperature)))
    for edge in (0.3, 0.0, -1.0, -jnp.inf):
        assert jnp.isnan(log_prob(nan.at[1].set(edge), good, 1.0))
        assert jnp.isnan(of_log(nan.at[1].set(edge), good, 1.0))


def test_shapes_must_fit():
    with pytest.raises(ValueError, match=r"x must have shape \(3,\), got \(1,\)"):
        gumbel_softmax.log_prob(jnp.ones(1), jnp.ones(3), 1.0)
    with pytest.raises(ValueError, match=r"y must have shape \(3,\), got \(1,\)"):
        gumbel_softmax.log_prob_of_log(jnp.ones(1), jnp.ones(3), 1.0)


def test_extreme_inputs_are_finite():
    spread, temperature = (
        v.ravel() for v in jnp.meshgrid(jnp.array([0.0, 80.0, 1e6]), jnp.array([1e-12, 0.1, 1e6]))
    )
    logits = jnp.tile(jnp.array([1e4, 0.0, -1e4]), (9, 1))
    y = spread[:, None] * jnp.array([[-1.0, 0.0, -0.5]])
    y = jax.nn.log_softmax(y)
    value, gradient = jax.vmap(LOG_VALUE_AND_GRAD)(y, logits, temperature)
    assert jnp.all(jnp.isfinite(value))
    assert all(jnp.all(jnp.isfinite(g)) for g in gradient)
    x = jnp.exp(jnp.maximum(y, -60.0))
    value, gradient = jax.vmap(VALUE_AND_GRAD)(x, logits, temperature)
    assert jnp.all(jnp.isfinite(value))
    assert all(jnp.all(jnp.isfinite(g)) for g in gradient)


def test_samples_follow_the_density():
    """Differences of log x are logistic: three KS tests at 3e-5, the key is fixed."""
    keys = jax.random.split(jax.random.key(0), 10_000)
    draw = jax.jit(jax.vmap(gumbel_softmax.sample_log, (0, None, None)))
    y = draw(keys, jnp.float32(LOGITS), 0.4)
    np.testing.assert_allclose(jnp.exp(y).sum(axis=1), np.ones(10_000), rtol=1e-5)
    for i in range(3):
        loc = (LOGITS[i] - LOGITS[3]) / 0.4
        assert stats.kstest(y[:, i] - y[:, 3], stats.logistic(loc, 2.5).cdf).pvalue > 3e-5


@pytest.mark.usefixtures("x64")
def test_sample_is_reparameterized():
    """With the noise of one key, y = log_softmax((logits + noise) / temperature)."""
    logits, temperature = jnp.array(LOGITS), 0.4
    draw = lambda logits, t: gumbel_softmax.sample_log(jax.random.key(1), logits, t)
    y = draw(logits, temperature)
    d_logits, d_temperature = jax.jacfwd(draw, argnums=(0, 1))(logits, temperature)
    x = np.exp(y)
    center = np.eye(4) - x  # of log_softmax: subtract the mean under x
    np.testing.assert_allclose(d_logits, center / temperature, rtol=1e-10)
    np.testing.assert_allclose(d_temperature, -(y - x @ y) / temperature, rtol=1e-10)


@pytest.mark.parametrize("temperature", [0.3, 1e8])
def test_straight_through(temperature):
    """z-tests of four frequencies at 4.3; false alarm 7e-5 over keys, the key is fixed.

    At temperature 1e8 the relaxed draw rounds to 1/4 everywhere; the hard one must not notice.
    """
    logits, keys = jnp.float32(LOGITS), jax.random.split(jax.random.key(2), 10_000)
    draw = jax.jit(jax.vmap(gumbel_softmax.straight_through, (0, None, None)))
    hard = draw(keys, logits, temperature)
    np.testing.assert_array_equal(jnp.sort(hard), np.tile([0.0, 0.0, 0.0, 1.0], (10_000, 1)))
    rate = special.softmax(LOGITS)
    z = (hard.mean(axis=0) - rate) / np.sqrt(rate * (1 - rate) / 10_000)
    assert np.abs(z).max() < 4.3


def test_straight_through_has_the_gradient_of_the_relaxed_draw():
    weights = jnp.arange(4.0)
    gradient = lambda draw: jax.grad(
        lambda logits, t: weights @ draw(jax.random.key(3), logits, t), argnums=(0, 1)
    )(jnp.float32(LOGITS), 0.3)
    hard, soft = gradient(gumbel_softmax.straight_through), gradient(gumbel_softmax.sample)
    np.testing.assert_allclose(hard[0], soft[0], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(hard[1], soft[1], rtol=1e-5)


def test_draws_at_a_very_low_temperature_are_normalized():
    """Two roundings of logits / temperature may be further apart than exp can tell."""
    n = 6_000
    logits = np.random.default_rng(0).uniform(-1e4, 1e4, (n, 3)).astype(np.float32)
    logits[:, 1] = logits[:, 0]
    temperature = np.full(n, 1e-6, np.float32)
    keys = jax.random.split(jax.random.key(0), n)
    draw = lambda key, *arguments: (gumbel_softmax.sample_log(key, *arguments),) * 2
    _, y = jax.jit(jax.vmap(jax.jacrev(draw, (1, 2), has_aux=True)))(keys, logits, temperature)
    np.testing.assert_allclose(np.max(y, axis=1), 0.0, atol=1.2)  # log 3 at most
