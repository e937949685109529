import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from genmix.densities import beta

VALUE_AND_GRAD = jax.jit(jax.value_and_grad(beta.log_prob, argnums=(0, 1, 2)))


@pytest.mark.usefixtures("x64")
def test_log_prob_and_entropy_match_scipy(variant):
    x, a = jnp.meshgrid(
        jnp.array([-0.1, 1e-300, 1e-8, 0.3, 0.999, 1.1, jnp.nan]), jnp.array([0.5, 1.0, 9.0, 40.0])
    )
    b = jnp.array([[0.5], [3.0], [0.3], [2.0]]) * jnp.ones_like(x)
    got = variant(beta.log_prob)(x, a, b)
    np.testing.assert_allclose(got, stats.beta.logpdf(x, a, b), rtol=1e-11, atol=1e-12)
    got = variant(beta.entropy)(a, b)
    np.testing.assert_allclose(got, stats.beta.entropy(a, b), rtol=1e-10)


@pytest.mark.usefixtures("x64")
def test_integrates_to_one_and_kl_matches_quadrature(variant):
    y = jnp.linspace(-35.0, 35.0, 20_001)  # of the logit, where the trapezoidal rule is exact
    x, step = jax.nn.sigmoid(y), y[1] - y[0]
    for a, b in [(1.7, 1.2), (2.0, 3.0), (9.0, 1.3)]:
        log_p = beta.log_prob(x, a, b)
        p = jnp.exp(log_p + jnp.log(x) + jnp.log1p(-x)) * step
        np.testing.assert_allclose(jnp.sum(p), 1.0, rtol=1e-10)
        expected = jnp.sum(p * (log_p - beta.log_prob(x, 2.5, 1.7)))
        got = variant(beta.kl)(*(jnp.array(v) for v in (a, b, 2.5, 1.7)))
        np.testing.assert_allclose(got, expected, rtol=1e-9)
    assert beta.kl(2.5, 0.7, 2.5, 0.7) == 0.0


def test_density_at_the_edges():
    for a, expected in [(0.5, jnp.inf), (1.0, np.log(3.0)), (2.0, -jnp.inf)]:
        at_zero, gradient = VALUE_AND_GRAD(0.0, a, 3.0)
        at_one, mirrored = VALUE_AND_GRAD(1.0, 3.0, a)
        np.testing.assert_allclose((at_zero, at_one), (expected, expected), rtol=1e-6)
        np.testing.assert_allclose((gradient[0], mirrored[0]), (-2.0, 2.0), rtol=1e-6)
        assert all(jnp.isfinite(g) for g in (*gradient, *mirrored))


@settings(deadline=None, max_examples=50)
@given(
    x=st.floats(-1e6, -0.125, width=32) | st.floats(1.125, 1e6, width=32),
    a=st.floats(0.125, 100, width=32),
)
def test_off_support_is_minus_inf_with_zero_gradient(x, a):
    value, gradient = VALUE_AND_GRAD(x, a, 3.0)
    assert value == -jnp.inf
    assert gradient == (0.0, 0.0, 0.0)


def test_bad_parameter_is_nan():
    bad = jnp.array([0.0, -0.5, jnp.nan, 1.0, 1.0, 1.0])
    a, b, ones = bad, bad[::-1], jnp.ones(6)
    for x in (-1.0, 0.0, 0.5, 1.0):
        assert jnp.all(jnp.isnan(beta.log_prob(x, a, b)))
    assert jnp.all(jnp.isnan(beta.entropy(a, b)))
    assert jnp.all(jnp.isnan(beta.kl(a, b, ones, ones)))
    assert jnp.all(jnp.isnan(beta.kl(ones, ones, a, b)))
    assert jnp.all(jnp.isnan(jax.jit(beta.sample)(jax.random.key(0), a, b)))


def test_extreme_inputs_are_finite():
    extremes = jnp.array([1e-12, 1.0, 1e6])
    edges = jnp.array([1e-30, 0.5, 1 - 2.0**-24])
    x, a, b = (v.ravel() for v in jnp.meshgrid(edges, extremes, extremes))
    value, gradient = jax.vmap(VALUE_AND_GRAD)(x, a, b)
    x, a, b = (np.float64(v) for v in (x, a, b))
    np.testing.assert_allclose(value, stats.beta.logpdf(x, a, b), rtol=1e-5, atol=0.1)
    assert jnp.all(jnp.isfinite(jnp.stack(gradient)))
    a, b = (v.ravel() for v in jnp.meshgrid(extremes, extremes))
    for f in (beta.entropy, lambda a, b: beta.kl(a, b, 1.0, 1.0)):
        value, gradient = jax.jit(jax.vmap(jax.value_and_grad(f, argnums=(0, 1))))(a, b)
        assert jnp.all(jnp.isfinite(value))
        assert jnp.all(jnp.isfinite(jnp.stack(gradient)))


@pytest.mark.usefixtures("x64")
def test_log_beta_and_its_gradient_match_scipy():
    """Scipy's own error at (0.1, 1e5) is 2e-11."""
    grid = np.meshgrid(*[[1e-9, 0.1, 3.0, 9.99, 10.0, 50.0, 1e5]] * 2)
    a, b = (jnp.array(v.ravel()) for v in grid)
    value, gradient = jax.vmap(jax.value_and_grad(beta.log_beta, argnums=(0, 1)))(a, b)
    np.testing.assert_allclose(value, special.betaln(a, b), rtol=3e-11, atol=1e-13)
    expected = special.digamma((a, b)) - special.digamma(a + b)
    np.testing.assert_allclose(gradient, expected, rtol=1e-8, atol=1e-11)


@pytest.mark.usefixtures("x64")
def test_second_derivatives_of_log_beta_match_scipy():
    """At a = b, too, where its two arguments are exchanged."""
    a, b = (jnp.array(v.ravel()) for v in np.meshgrid(*[[0.1, 3.0, 9.99, 10.0, 50.0, 1e3]] * 2))
    hessian = jax.jit(jax.vmap(jax.hessian(beta.log_beta, argnums=(0, 1))))(a, b)
    of_sum = special.polygamma(1, a + b)
    of_a, of_b = (special.polygamma(1, v) - of_sum for v in (a, b))
    expected = [[of_a, -of_sum], [-of_sum, of_b]]
    np.testing.assert_allclose(np.asarray(hessian), expected, rtol=1e-7, atol=1e-9)


@pytest.mark.usefixtures("x64")
def test_log_beta_obeys_its_recurrence_across_the_switch_to_the_series():
    """B(a + 1, b) = B(a, b) a / (a + b); from 10 on a series serves, below it does not."""
    a, b = jnp.linspace(9.01, 9.99, 50), jnp.full(50, 30.0)
    step = beta.log_beta(a + 1, b) - beta.log_beta(a, b)
    np.testing.assert_allclose(step, jnp.log(a / (a + b)), rtol=0, atol=2e-14)


def test_log_beta_keeps_its_digits_in_float32():
    a, b = jnp.array([1e6, 1e4, 0.5, 1e-12]), jnp.array([2e6, 1e4, 1e6, 1e-12])
    np.testing.assert_allclose(beta.log_beta(a, b), special.betaln(a, b), rtol=1e-6)


def test_sample_follows_the_density():
    """Kolmogorov-Smirnov, twice 10,000 draws; false alarm 1e-4 over keys, the key is fixed."""
    a, b = jnp.array([[0.3], [5.0]]), jnp.array([[2.0], [0.9]])
    x = jax.jit(beta.sample)(jax.random.key(0), a * jnp.ones((2, 10_000)), b)
    for draws, first, second in zip(x, a[:, 0], b[:, 0], strict=True):
        assert stats.kstest(draws, stats.beta(first, second).cdf).pvalue > 5e-5


def test_sample_logit_does_not_saturate():
    a = jnp.full(1000, 1e-3)
    y = jax.jit(beta.sample_logit)(jax.random.key(0), a, 1e-3)
    assert jnp.all(jnp.isfinite(y))
    assert jnp.max(jnp.abs(y)) > 1000
    assert jnp.mean(jnp.isin(jax.nn.sigmoid(y), jnp.array([0.0, 1.0]))) > 0.9  # what sample gives


@pytest.mark.usefixtures("x64")
def test_gradient_of_sample_is_the_implicit_derivative_on_average():
    """Given x, the derivative has the mean -(dF/da) / p; five bins of x, each a z-test at 4.5.

    Two gamma variables make one x, so that single draws differ. False alarm 1e-4 over keys, the
    key is fixed.
    """
    parameters = np.array([0.8, 2.5])
    keys = jax.random.split(jax.random.key(4), 20_000)
    draw = lambda key, a, b: beta.sample(key, a, b)
    slopes = jax.jit(jax.vmap(jax.value_and_grad(draw, argnums=(1, 2)), (0, None, None)))
    x, gradient = slopes(keys, *parameters)
    order = np.argsort(x)
    for slope, h in zip(gradient, 1e-5 * np.eye(2), strict=True):
        central = special.betainc(*(parameters + h), x) - special.betainc(*(parameters - h), x)
        excess = slope + central / 2e-5 / stats.beta.pdf(x, *parameters)
        assert jnp.std(slope) > 0.01
        for part in np.split(np.asarray(excess)[order], 5):
            assert abs(part.mean()) < 4.5 * part.std() / np.sqrt(part.size)
