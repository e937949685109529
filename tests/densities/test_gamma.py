import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from genmix.densities import gamma

CASES = [(0.5, 1.0), (1.0, 2.0), (9.0, 0.3)]
VALUE_AND_GRAD = jax.jit(jax.value_and_grad(gamma.log_prob, argnums=(0, 1, 2)))


@pytest.mark.usefixtures("x64")
def test_log_prob_and_entropy_match_scipy(variant):
    x, a = jnp.meshgrid(
        jnp.array([-1.0, 0.0, 1e-8, 0.3, 40.0, jnp.nan]), jnp.array([0.5, 1.0, 9.0])
    )
    b = jnp.array([[1.0], [2.0], [0.3]]) * jnp.ones_like(x)
    got = variant(gamma.log_prob)(x, a, b)
    np.testing.assert_allclose(got, stats.gamma.logpdf(x, a, scale=1 / b), rtol=1e-12)
    got = variant(gamma.entropy)(a, b)
    np.testing.assert_allclose(got, stats.gamma.entropy(a, scale=1 / b), rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_integrates_to_one_and_kl_matches_quadrature(variant):
    y = jnp.linspace(-90.0, 7.0, 40_001)  # of log x, where the trapezoidal rule is exact
    x, step = jnp.exp(y), y[1] - y[0]
    for a, b in CASES:
        log_p = gamma.log_prob(x, a, b)
        p = jnp.exp(log_p + y) * step
        np.testing.assert_allclose(jnp.sum(p), 1.0, rtol=1e-10)
        expected = jnp.sum(p * (log_p - gamma.log_prob(x, 2.5, 0.7)))
        got = variant(gamma.kl)(*(jnp.array(v) for v in (a, b, 2.5, 0.7)))
        np.testing.assert_allclose(got, expected, rtol=1e-9)
    assert gamma.kl(2.5, 0.7, 2.5, 0.7) == 0.0


def test_density_at_zero():
    value, gradient = VALUE_AND_GRAD(0.0, 1.0, 2.0)
    np.testing.assert_allclose(value, np.log(2.0), rtol=1e-6)
    np.testing.assert_allclose((gradient[0], gradient[2]), (-2.0, 0.5), rtol=1e-6)
    for concentration, expected in [(0.5, jnp.inf), (1.0, value), (3.0, -jnp.inf)]:
        value, gradient = VALUE_AND_GRAD(0.0, concentration, 2.0)
        assert value == expected
        assert all(jnp.isfinite(g) for g in gradient)


@settings(deadline=None, max_examples=50)
@given(
    x=st.floats(-1e6, -0.125, width=32) | st.just(float("inf")), a=st.floats(0.125, 100, width=32)
)
def test_off_support_is_minus_inf_with_zero_gradient(x, a):
    value, gradient = VALUE_AND_GRAD(x, a, 3.0)
    assert value == -jnp.inf
    assert gradient == (0.0, 0.0, 0.0)


def test_bad_parameter_is_nan():
    bad = jnp.array([0.0, -0.5, jnp.nan, 1.0, 1.0, 1.0])
    a, b, ones = bad, bad[::-1], jnp.ones(6)
    for x in (-1.0, 0.0, 1.0, jnp.inf):
        assert jnp.all(jnp.isnan(gamma.log_prob(x, a, b)))
    assert jnp.all(jnp.isnan(gamma.entropy(a, b)))
    assert jnp.all(jnp.isnan(gamma.kl(a, b, ones, ones)))
    assert jnp.all(jnp.isnan(gamma.kl(ones, ones, a, b)))
    assert jnp.all(jnp.isnan(jax.jit(gamma.sample)(jax.random.key(0), a, b)))


def test_extreme_inputs_are_finite():
    extremes = jnp.array([1e-12, 1.0, 1e6])
    x, a, b = (
        v.ravel() for v in jnp.meshgrid(jnp.array([1e-30, 1e-6, 1.0, 1e6]), extremes, extremes)
    )
    value, gradient = jax.vmap(VALUE_AND_GRAD)(x, a, b)
    x, a, b = (np.float64(v) for v in (x, a, b))
    np.testing.assert_allclose(value, stats.gamma.logpdf(x, a, scale=1 / b), rtol=1e-5, atol=2.0)
    assert jnp.all(jnp.isfinite(jnp.stack(gradient)))
    a, b = (v.ravel() for v in jnp.meshgrid(extremes, extremes))
    for f in (gamma.entropy, lambda a, b: gamma.kl(a, b, 1.0, 1.0)):
        value, gradient = jax.jit(jax.vmap(jax.value_and_grad(f, argnums=(0, 1))))(a, b)
        assert jnp.all(jnp.isfinite(value))
        assert jnp.all(jnp.isfinite(jnp.stack(gradient)))


def test_sample_follows_the_density():
    """Kolmogorov-Smirnov, twice 10,000 draws; false alarm 1e-4 over keys, the key is fixed."""
    a, b = jnp.array([[0.3], [5.0]]), jnp.array([[2.0], [0.4]])
    x = jax.jit(gamma.sample)(jax.random.key(0), a * jnp.ones((2, 10_000)), b)
    for draws, concentration, rate in zip(x, a[:, 0], b[:, 0], strict=True):
        cdf = stats.gamma(concentration, scale=1 / rate).cdf
        assert stats.kstest(draws, cdf).pvalue > 5e-5


def test_small_concentration_does_not_underflow():
    """Kolmogorov-Smirnov, 10,000 draws; false alarm 1e-4 over keys, the key is fixed.

    In float32, at a = 1e-3: the CDF of the log is exp(a y) / Gamma(a + 1) up to x = 1e-3, with
    little mass beyond, and so is the implicit derivative that follows from it.
    """
    a = jnp.full(10_000, 1e-3)
    y, pull_back = jax.vjp(jax.jit(lambda a: gamma.sample_log(jax.random.key(0), a, 1.0)), a)
    (slope,) = pull_back(jnp.ones(10_000))
    assert jnp.all(jnp.isfinite(y))
    assert jnp.mean(jnp.exp(y) == 0) > 0.9  # as the docstring of sample says
    y = np.asarray(y, np.float64)
    cdf = np.exp(1e-3 * np.minimum(y, np.log(1e-3)) - special.gammaln(1.001))
    cdf = np.where(y < np.log(1e-3), cdf, special.gammainc(1e-3, np.exp(np.clip(y, -7, 9))))
    assert stats.kstest(cdf, "uniform").pvalue > 1e-4
    tiny = y < -20
    expected = (special.digamma(1.001) - y[tiny]) / 1e-3
    np.testing.assert_allclose(slope[tiny], expected, rtol=1e-5)


@pytest.mark.usefixtures("x64")
def test_gradients_of_sample_are_the_implicit_derivatives():
    """The smallest concentration has draws on both sides of the switch at x = eps."""
    a = jnp.repeat(jnp.array([0.02, 0.7, 40.0]), 200)
    draw = lambda key, a, b: gamma.sample_log(key, a, b)
    slopes = jax.jit(jax.vmap(jax.value_and_grad(draw, argnums=(1, 2)), (0, 0, None)))
    y, (d_a, d_b) = slopes(jax.random.split(jax.random.key(2), 600), a, 1.5)
    x = 1.5 * np.exp(y)
    central = lambda h: (special.gammainc(a + h, x) - special.gammainc(a - h, x)) / (2 * h)
    slope = (4 * central(5e-5 * a) - central(1e-4 * a)) / 3
    np.testing.assert_allclose(d_a, -slope / (x * stats.gamma.pdf(x, a)), rtol=1e-6)
    np.testing.assert_allclose(d_b, np.full(600, -1 / 1.5), rtol=1e-12)


def test_sample_has_the_shape_and_dtype_of_its_parameters():
    shape = lambda a, b: jax.eval_shape(gamma.sample, jax.random.key(0), a, b)
    assert shape(jnp.ones((3, 1)), jnp.ones((3, 1))).dtype == jnp.float32
    assert shape(1.0, jnp.ones((3, 2))).shape == shape(jnp.ones((3, 2)), 1.0).shape == (3, 2)
