import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genmix.densities import exponential_families, poisson

COUNTS = [-1.0, 0.0, 0.5, 1.0, 7.0, 300.0, 1e6]
RATES = [1e-3, 1.0, 8.5, 310.0, 1.002e6]
VALUE_AND_GRAD = jax.jit(jax.vmap(jax.value_and_grad(poisson.log_prob, argnums=1)))


@pytest.mark.usefixtures("x64")
def test_log_prob_matches_scipy(variant):
    x, rate = jnp.meshgrid(jnp.array(COUNTS), jnp.array(RATES))
    got = variant(poisson.log_prob)(x, rate)
    # scipy's own x log(rate) - rate - log x! cancels: its error is about eps x log(x).
    expected = stats.poisson.logpmf(x, rate)
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-8)
    np.testing.assert_allclose(got[:, :-1], expected[:, :-1], rtol=1e-11, atol=1e-12)
    integers = variant(poisson.log_prob)(x.astype(int), rate)
    np.testing.assert_array_equal(integers, variant(poisson.log_prob)(jnp.trunc(x), rate))


def test_large_counts_lose_no_digits():
    """In float32 the textbook form is off by 0.5 nats at a million, this one by 1e-4."""
    x, rate = jnp.array([1e6, 1.001e6, 9.99e5]), jnp.array([1e6, 1e6, 1e6])
    deviance = np.asarray(x, float) * np.log(np.asarray(x, float) / 1e6) + 1e6 - np.asarray(x)
    exact = -deviance - 0.5 * np.log(2 * np.pi * np.asarray(x, float)) - 1 / (12e6)
    np.testing.assert_allclose(poisson.log_prob(x, rate), exact, atol=2e-4)


def test_edges():
    x, rate = (a.reshape(-1) for a in jnp.meshgrid(jnp.array(COUNTS), jnp.array(RATES)))
    value, gradient = VALUE_AND_GRAD(x, rate)
    outside = (x < 0) | (x != jnp.floor(x))
    np.testing.assert_array_equal(value == -jnp.inf, outside)
    expected = jnp.where(outside, 0.0, x / rate - 1)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)
    assert poisson.log_prob(0.0, 0.0) == 0
    assert poisson.log_prob(2.0, 0.0) == -jnp.inf
    assert poisson.log_prob(jnp.inf, 2.0) == -jnp.inf
    for x, rate in ((1.0, -1.0), (1.0, jnp.nan), (jnp.nan, 1.0), (1.0, jnp.inf)):
        assert jnp.isnan(poisson.log_prob(x, rate))
    assert jnp.isfinite(poisson.log_prob(1e30, 1e-30))


def test_draws_follow_the_probabilities():
    """Chi-square at 1e-4 for each rate."""
    rates = jnp.array([0.7, 25.0])
    draws = np.asarray(
        jax.vmap(lambda key: poisson.sample(key, rates))(
            jax.random.split(jax.random.key(0), 10_000)
        )
    )
    for i, rate in enumerate(rates):
        edges = np.unique(stats.poisson.ppf(np.linspace(0.02, 0.98, 12), rate))
        mass = np.diff(stats.poisson.cdf([-1, *edges, np.inf], rate))
        counts = np.histogram(draws[:, i], [-0.5, *(edges + 0.5), np.inf])[0]
        assert stats.chisquare(counts, mass * len(draws)).pvalue > 1e-4
    assert jnp.all(jnp.isnan(poisson.sample(jax.random.key(0), jnp.array([-1.0, jnp.nan, 1e10]))))
    assert poisson.sample(jax.random.key(0), 0.0) == 0


@pytest.mark.usefixtures("x64")
def test_kl_is_that_of_the_exponential_family(variant):
    p, q = jnp.array([0.3, 4.0, 900.0]), jnp.array([0.7, 4.5, 2.0])
    family = jax.vmap(exponential_families.poisson.kl)(jnp.log(p), jnp.log(q))
    np.testing.assert_allclose(variant(poisson.kl)(p, q), family, rtol=1e-9)
    assert poisson.kl(2.0, 2.0) == 0
    assert poisson.kl(0.0, 3.0) == 3.0
    assert poisson.kl(1.0, 0.0) == jnp.inf
    assert jnp.isnan(poisson.kl(-1.0, 1.0))
