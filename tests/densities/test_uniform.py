import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from genmix.densities import uniform


@pytest.mark.usefixtures("x64")
def test_log_prob_and_entropy_match_scipy(variant):
    x = jnp.array([-3.0, -1.0, 0.2, 4.0, 4.1, jnp.nan, 0.0, 0.0])
    low = jnp.array([-1.0, -1.0, -1.0, -1.0, -1.0, -1.0, jnp.nan, 0.0])
    high = jnp.array([4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, jnp.nan])
    got = variant(uniform.log_prob)(x, low, high)
    np.testing.assert_allclose(got, stats.uniform.logpdf(x, low, high - low), rtol=1e-12)
    got = variant(uniform.entropy)(low, high)
    np.testing.assert_allclose(got, stats.uniform.entropy(low, high - low), rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_kl_is_the_log_ratio_of_widths_or_inf(variant):
    low_p, high_p = jnp.array([0.0, -1.0, 0.0, -2.0]), jnp.array([1.0, 3.0, 3.5, 1.0])
    got = variant(uniform.kl)(low_p, high_p, jnp.full(4, -1.0), jnp.full(4, 3.0))
    np.testing.assert_allclose(got, [np.log(4), 0.0, np.inf, np.inf], rtol=1e-12)


_value_and_grad = jax.jit(jax.value_and_grad(uniform.log_prob, argnums=(0, 1, 2)))


@settings(deadline=None, max_examples=50)
@given(
    # XLA flushes subnormal numbers to zero
    low=st.floats(-1e6, 1e6, width=32, allow_subnormal=False),
    offset=st.floats(-3, 3, width=32, allow_subnormal=False) | st.sampled_from([0.0, 2.0]),
)
def test_support_is_the_closed_interval_and_outside_the_gradient_is_zero(low, offset):
    low, high, x = np.float32(low), np.float32(low + 2.0), np.float32(low + offset)
    value, gradient = _value_and_grad(jnp.asarray(x), jnp.asarray(low), jnp.asarray(high))
    if low <= x <= high:
        width = high - low
        np.testing.assert_allclose(value, -np.log(width), atol=1e-6)
        np.testing.assert_allclose(gradient, np.array([0.0, 1.0, -1.0]) / width, rtol=1e-6)
    else:
        assert value == -jnp.inf
        assert gradient == (0.0, 0.0, 0.0)


def test_sample_follows_the_density():
    """Kolmogorov-Smirnov, 20,000 draws; false alarm 1e-4 over keys, the key is fixed."""
    x = uniform.sample(jax.random.key(0), jnp.full(20_000, -1.5), 0.3)
    assert stats.kstest(x, stats.uniform(-1.5, 1.8).cdf).pvalue > 1e-4


def test_sample_is_reparameterized():
    draw = lambda low, high: uniform.sample(jax.random.key(1), low, high)
    unit = (draw(2.0, 5.0) - 2.0) / 3.0
    d_low, d_high = jax.grad(draw, argnums=(0, 1))(2.0, 5.0)
    np.testing.assert_allclose(d_low, 1 - unit, rtol=1e-5)
    np.testing.assert_allclose(d_high, unit, rtol=1e-5)


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (2.0, 1.0), (jnp.nan, 1.0), (0.0, jnp.nan)])
def test_empty_interval_is_nan(low, high):
    for x in (0.0, 1.0, 1.5):
        assert jnp.isnan(uniform.log_prob(x, low, high))
    assert jnp.isnan(uniform.entropy(low, high))
    assert jnp.isnan(uniform.sample(jax.random.key(0), low, high))
    assert jnp.isnan(uniform.kl(low, high, 0.0, 1.0))
    assert jnp.isnan(uniform.kl(0.0, 1.0, low, high))


@pytest.mark.parametrize(("low", "high"), [(-1e6, 1e6), (0.0, 1e-12), (-1e-12, 1e6)])
def test_extreme_widths_are_finite_in_value_and_gradient(low, high):
    value, gradient = jax.value_and_grad(uniform.log_prob, argnums=(0, 1, 2))(0.0, low, high)
    assert jnp.all(jnp.isfinite(jnp.stack([value, *gradient])))
    value, gradient = jax.value_and_grad(uniform.kl, argnums=(0, 1, 2, 3))(low, high, -2e6, 2e6)
    assert jnp.all(jnp.isfinite(jnp.stack([value, *gradient])))


def test_kl_gradient_is_zero_where_not_contained():
    assert jax.grad(uniform.kl, argnums=(0, 1, 2, 3))(0.0, 2.0, 0.0, 1.0) == (0.0,) * 4
