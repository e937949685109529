import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from tensorflow_probability.substrates import jax as tfp

from genmix.densities import relaxed_bernoulli

VALUE_AND_GRAD = jax.jit(jax.value_and_grad(relaxed_bernoulli.log_prob, argnums=(0, 1, 2)))


@pytest.mark.usefixtures("x64")
def test_log_prob_matches_tfp(variant):
    x = jnp.array([1e-12, 0.2, 0.5, 0.999, 0.3])
    logits = jnp.array([0.3, -2.0, 5.0, 0.0, -40.0])
    temperature = jnp.array([0.1, 0.5, 1.0, 2.0, 0.7])
    reference = tfp.distributions.RelaxedBernoulli(temperature, logits=logits)
    got = variant(relaxed_bernoulli.log_prob)(x, logits, temperature)
    np.testing.assert_allclose(got, reference.log_prob(x), rtol=1e-10)


@pytest.mark.usefixtures("x64")
def test_log_prob_of_logit_matches_scipy(variant):
    y, logits, temperature = jnp.array([[-70.0, 0.1, 30.0], [0.3, -2.0, 5.0], [0.1, 0.5, 2.0]])
    got = variant(relaxed_bernoulli.log_prob_of_logit)(y, logits, temperature)
    expected = stats.logistic.logpdf(y, logits / temperature, 1 / temperature)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_integrates_to_one():
    y = jnp.linspace(-120.0, 120.0, 20_001)  # of the logit, where the trapezoidal rule is exact
    for logits, temperature in [(0.7, 0.5), (-3.0, 1.5)]:
        density = jnp.exp(relaxed_bernoulli.log_prob_of_logit(y, logits, temperature))
        np.testing.assert_allclose(jnp.sum(density) * (y[1] - y[0]), 1.0, rtol=1e-10)
    x = jax.nn.sigmoid(y[np.abs(y) < 30])  # beyond, x rounds to 1
    density = jnp.exp(relaxed_bernoulli.log_prob(x, 0.7, 1.5)) * x * (1 - x)
    np.testing.assert_allclose(jnp.sum(density) * (y[1] - y[0]), 1.0, rtol=1e-10)


@settings(deadline=None, max_examples=50)
@given(
    x=st.floats(-1e6, 0.0, width=32) | st.floats(1.0, 1e6, width=32) | st.just(float("inf")),
    logits=st.floats(-1e4, 1e4, width=32),
)
def test_off_support_is_minus_inf_with_zero_gradient(x, logits):
    value, gradient = VALUE_AND_GRAD(x, logits, 0.5)
    assert value == -jnp.inf
    assert gradient == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("y", [-jnp.inf, jnp.inf])
def test_infinite_logit_is_minus_inf_with_zero_gradient(y):
    log_prob = jax.value_and_grad(relaxed_bernoulli.log_prob_of_logit, argnums=(0, 1, 2))
    assert log_prob(y, 0.3, 0.5) == (-jnp.inf, (0.0, 0.0, 0.0))


def test_bad_parameter_is_nan():
    temperature = jnp.array([0.0, -1.0, jnp.nan, 1.0])
    logits = jnp.array([0.0, 0.0, 0.0, jnp.nan])
    for x in (-1.0, 0.5, 1.0, jnp.nan):
        assert jnp.all(jnp.isnan(relaxed_bernoulli.log_prob(x, logits, temperature)))
        assert jnp.all(jnp.isnan(relaxed_bernoulli.log_prob_of_logit(x, logits, temperature)))
    assert jnp.all(jnp.isnan(relaxed_bernoulli.sample(jax.random.key(0), logits, temperature)))
    hard = relaxed_bernoulli.straight_through(jax.random.key(0), logits, temperature)
    assert jnp.all(jnp.isnan(hard))


def test_extreme_inputs_are_finite():
    y, logits, temperature = (
        v.ravel()
        for v in jnp.meshgrid(
            jnp.array([-1e6, -30.0, 0.0, 1e6]),
            jnp.array([-1e4, 0.0, 1e4]),
            jnp.array([1e-12, 1e-3, 1.0, 1e6]),
        )
    )
    f = jax.value_and_grad(relaxed_bernoulli.log_prob_of_logit, argnums=(0, 1, 2))
    value, gradient = jax.vmap(f)(y, logits, temperature)
    noise = np.float64(temperature) * np.float64(y) - np.float64(logits)
    expected = stats.logistic.logpdf(noise) + np.log(np.float64(temperature))
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert jnp.all(jnp.isfinite(jnp.stack(gradient)))
    x = jnp.full_like(y, 1e-30).at[::2].set(1 - 2.0**-24)
    value, gradient = jax.vmap(VALUE_AND_GRAD)(x, logits, temperature)
    assert jnp.all(jnp.isfinite(value))
    assert jnp.all(jnp.isfinite(jnp.stack(gradient)))


def test_samples_follow_the_density():
    """Kolmogorov-Smirnov, 20,000 draws; false alarm 1e-4 over keys, the key is fixed."""
    y = relaxed_bernoulli.sample_logit(jax.random.key(0), jnp.full(20_000, 0.8), 0.4)
    assert stats.kstest(y, stats.logistic(2.0, 2.5).cdf).pvalue > 1e-4
    x = relaxed_bernoulli.sample(jax.random.key(0), jnp.full(20_000, 0.8), 0.4)
    np.testing.assert_array_equal(x, jax.nn.sigmoid(y))


def test_sample_is_reparameterized():
    draw = lambda logits, temperature: relaxed_bernoulli.sample_logit(
        jax.random.key(1), logits, temperature
    )
    y, (d_logits, d_temperature) = jax.value_and_grad(draw, argnums=(0, 1))(0.8, 0.4)
    np.testing.assert_allclose(d_logits, 1 / 0.4, rtol=1e-6)
    np.testing.assert_allclose(d_temperature, -y / 0.4, rtol=1e-6)


def test_straight_through():
    """A z-test of the frequency of ones at 4; false alarm 6e-5 over keys, the key is fixed."""
    logits = jnp.full(10_000, -0.8)
    hard, pull_back = jax.vjp(
        lambda logits: relaxed_bernoulli.straight_through(jax.random.key(2), logits, 0.3), logits
    )
    assert jnp.all((hard == 0) | (hard == 1))
    rate = special.expit(-0.8)
    assert abs(hard.mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / 10_000)
    soft, soft_pull_back = jax.vjp(
        lambda logits: relaxed_bernoulli.sample(jax.random.key(2), logits, 0.3), logits
    )
    np.testing.assert_array_equal(hard, soft > 0.5)
    np.testing.assert_array_equal(pull_back(logits)[0], soft_pull_back(logits)[0])


def test_scalars_broadcast():
    shape = lambda *arguments: jax.eval_shape(relaxed_bernoulli.sample, *arguments).shape
    logits = jnp.zeros((3, 2))
    assert shape(jax.random.key(0), logits, 1.0) == (3, 2)
    assert shape(jax.random.key(0), 0.0, logits) == (3, 2)
    assert relaxed_bernoulli.log_prob(0.3, logits, 1.0).shape == (3, 2)
