import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from tensorflow_probability.substrates import jax as tfp

from genmix.densities import beta, dirichlet

A = np.array([0.4, 1.0, 2.5, 7.0])
X = np.array([0.1, 0.2, 0.3, 0.4])
VALUE_AND_GRAD = jax.jit(jax.value_and_grad(dirichlet.log_prob, argnums=(0, 1)))


@pytest.mark.usefixtures("x64")
def test_log_prob_and_entropy_match_scipy(variant):
    got = variant(dirichlet.log_prob)(jnp.array(X), jnp.array(A))
    np.testing.assert_allclose(got, stats.dirichlet.logpdf(X, A), rtol=1e-12)
    got = variant(dirichlet.entropy)(jnp.array(A))
    np.testing.assert_allclose(got, stats.dirichlet.entropy(A), rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_kl_matches_tfp(variant):
    q = np.array([3.0, 0.2, 1.5, 1.0])
    expected = tfp.distributions.Dirichlet(jnp.array(A)).kl_divergence(
        tfp.distributions.Dirichlet(jnp.array(q))
    )
    np.testing.assert_allclose(
        variant(dirichlet.kl)(jnp.array(A), jnp.array(q)), expected, rtol=1e-12
    )
    assert dirichlet.kl(jnp.array(A), jnp.array(A)) == 0.0


@pytest.mark.usefixtures("x64")
def test_two_entries_are_a_beta_distribution():
    x, a = jnp.array([0.3, 0.7]), jnp.array([0.6, 4.0])
    np.testing.assert_allclose(
        dirichlet.log_prob(x, a), beta.log_prob(x[0], a[0], a[1]), rtol=1e-12
    )
    np.testing.assert_allclose(dirichlet.entropy(a), beta.entropy(a[0], a[1]), rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_integrates_to_one():
    nodes, weights = np.polynomial.legendre.leggauss(20)  # exact for these polynomials
    u, v = (0.5 + 0.5 * g.ravel() for g in np.meshgrid(nodes, nodes))
    x = jnp.stack([u, (1 - u) * v, (1 - u) * (1 - v)], axis=1)  # area element 1 - u
    log_p = jax.jit(jax.vmap(dirichlet.log_prob, (0, None)))(x, jnp.array([3.0, 2.0, 4.0]))
    p = jnp.exp(log_p)
    area = np.outer(weights, weights).ravel() / 4 * (1 - u)
    np.testing.assert_allclose(jnp.sum(p * area), 1.0, rtol=1e-12)


def test_float32_at_large_concentration_keeps_its_digits():
    a, x = np.array([1e5, 3e5, 6e5], np.float32), np.array([0.1, 0.3, 0.6], np.float32)
    p = np.float64(x) / np.float64(x).sum()
    expected = special.xlogy(np.float64(a) - 1, p).sum() - special.gammaln(a).sum()
    expected += special.gammaln(np.float64(a).sum())
    np.testing.assert_allclose(dirichlet.log_prob(jnp.array(x), jnp.array(a)), expected, atol=0.3)


def test_entry_of_zero():
    x = jnp.array([0.0, 0.4, 0.6])
    log_two = np.log(2.0)  # of Dirichlet(1, 1, 1): uniform on a triangle of area 1 / 2
    for first, expected in [(0.5, jnp.inf), (1.0, log_two), (2.0, -jnp.inf)]:
        value, gradient = VALUE_AND_GRAD(x, jnp.array([first, 1.0, 1.0]))
        np.testing.assert_allclose(value, expected, rtol=1e-5)
        assert jnp.all(jnp.isfinite(jnp.stack(gradient)))
    both = dirichlet.log_prob(jnp.array([0.0, 0.0, 1.0]), jnp.array([0.5, 2.0, 1.0]))
    assert both == -jnp.inf


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-10, 10, width=32), min_size=3, max_size=3))
def test_off_the_simplex_is_minus_inf_with_zero_gradient(x):
    on_simplex = min(x) >= 0 and abs(sum(x) - 1) < 1e-3
    x = [2.0, *x[1:]] if on_simplex else x
    value, gradient = VALUE_AND_GRAD(jnp.array(x), jnp.array([0.5, 1.0, 3.0]))
    assert value == -jnp.inf
    np.testing.assert_array_equal(jnp.stack(gradient), np.zeros((2, 3)))


@pytest.mark.parametrize(("error", "is_off"), [(1e-4, False), (1e-3, True)])
def test_tolerance_of_the_sum(error, is_off):
    assert dirichlet.off_simplex(jnp.array([0.5, 0.5 + error])) == is_off
    with jax.enable_x64(True):
        assert dirichlet.off_simplex(jnp.array([0.5, 0.5 + 1e-5 * error])) == False  # noqa: E712
        assert dirichlet.off_simplex(jnp.array([0.5, 0.5 + error])) == True  # noqa: E712


def test_bad_parameter_is_nan():
    good, bad = (
        jnp.ones((3, 3)),
        jnp.array([[0.0, 1.0, 1.0], [1.0, -0.5, 1.0], [1.0, 1.0, jnp.nan]]),
    )
    log_prob, kl = jax.jit(jax.vmap(dirichlet.log_prob)), jax.jit(jax.vmap(dirichlet.kl))
    for x in ([0.2, 0.3, 0.5], [0.0, 0.5, 0.5], [1.0, 1.0, 1.0]):
        assert jnp.all(jnp.isnan(log_prob(jnp.tile(jnp.array(x), (3, 1)), bad)))
    x = jnp.array([[jnp.nan, 0.5, 0.5], [jnp.nan, 0.0, 1.0], [jnp.nan, -1.0, 2.0]])
    assert jnp.all(jnp.isnan(log_prob(x, 2 * good)))
    assert jnp.all(jnp.isnan(jax.jit(jax.vmap(dirichlet.entropy))(bad)))
    assert jnp.all(jnp.isnan(kl(bad, good)))
    assert jnp.all(jnp.isnan(kl(good, bad)))
    keys = jax.random.split(jax.random.key(0), 3)
    assert jnp.all(jnp.isnan(jax.jit(jax.vmap(dirichlet.sample))(keys, bad)))


def test_shapes_must_fit():
    with pytest.raises(ValueError, match=r"x must have shape \(3,\), got \(1,\)"):
        dirichlet.log_prob(jnp.ones(1), jnp.ones(3))
    with pytest.raises(ValueError, match=r"concentration_q must have shape \(3,\), got \(1,\)"):
        dirichlet.kl(jnp.ones(3), jnp.ones(1))


def test_extreme_inputs_are_finite():
    x = jnp.tile(jnp.array([1e-30, 1.0, 1e-6]), (4, 1))
    a = jnp.array([[1e-12, 1.0, 3.0], [1e-3, 1e6, 3.0], [1.0, 1.0, 1.0], [1e6, 1e6, 1e-12]])
    value, gradient = jax.vmap(VALUE_AND_GRAD)(x, a)
    assert jnp.all(jnp.isfinite(value))
    assert jnp.all(jnp.isfinite(jnp.stack(gradient)))
    for f in (dirichlet.entropy, lambda a: dirichlet.kl(a, jnp.ones(3))):
        value, gradient = jax.jit(jax.vmap(jax.value_and_grad(f)))(a)
        assert jnp.all(jnp.isfinite(value))
        assert jnp.all(jnp.isfinite(gradient))


def test_samples_follow_the_density():
    """Three beta marginals and a sum, Kolmogorov-Smirnov; false alarm 4e-5, the key is fixed."""
    a = jnp.array([0.3, 1.0, 4.0])
    keys = jax.random.split(jax.random.key(0), 10_000)
    x = np.asarray(jax.jit(jax.vmap(dirichlet.sample, (0, None)))(keys, a))
    np.testing.assert_allclose(x.sum(axis=1), np.ones(10_000), rtol=1e-5)
    for entry, first in [(x[:, 0], 0.3), (x[:, 1], 1.0), (x[:, 2], 4.0), (x[:, 0] + x[:, 1], 1.3)]:
        assert stats.kstest(entry, stats.beta(first, 5.3 - first).cdf).pvalue > 1e-5


@pytest.mark.usefixtures("x64")
def test_gradient_of_sample_on_average():
    """E[log x] = digamma(a) - digamma(sum a): nine z-tests at 4.5, false alarm 1e-4, fixed key."""
    a = jnp.array([0.3, 1.0, 4.0])
    keys = jax.random.split(jax.random.key(1), 10_000)
    jacobian_fn = jax.vmap(jax.jacfwd(dirichlet.sample_log, argnums=1), (0, None))
    jacobian = jax.jit(jacobian_fn)(keys, a)
    expected = np.diag(special.polygamma(1, a)) - special.polygamma(1, a.sum())
    error = np.abs(jacobian.mean(axis=0) - expected)
    assert np.all(error < 4.5 * jacobian.std(axis=0) / 100)
