import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genmix.densities import negative_binomial, poisson

CASES = [(0.5, 0.2), (3.0, 1.0), (40.0, 7.5), (2.0, 3000.0)]
VALUE_AND_GRAD = jax.jit(jax.value_and_grad(negative_binomial.log_prob, argnums=(1, 2)))


@pytest.mark.usefixtures("x64")
def test_log_prob_matches_scipy(variant):
    x = jnp.array([-1.0, 0.0, 0.5, 1.0, 7.0, 300.0])
    for mean, concentration in CASES:
        mean_, concentration_ = jnp.full(6, mean), jnp.full(6, concentration)
        got = variant(negative_binomial.log_prob)(x, mean_, concentration_)
        expected = stats.nbinom.logpmf(x, concentration, concentration / (concentration + mean))
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-11)


def test_a_large_concentration_makes_it_poisson():
    x = jnp.array([0.0, 3.0, 90.0])
    for concentration in (1e7, 1e30):
        got = negative_binomial.log_prob(x, 20.0, concentration)
        np.testing.assert_allclose(got, poisson.log_prob(x, 20.0), rtol=1e-4)


def test_edges():
    for x in (-1.0, 0.5, jnp.inf):
        value, gradient = VALUE_AND_GRAD(x, 2.0, 3.0)
        assert value == -jnp.inf
        assert gradient == (0.0, 0.0)
    assert negative_binomial.log_prob(0.0, 0.0, 2.0) == 0
    assert negative_binomial.log_prob(1.0, 0.0, 2.0) == -jnp.inf
    bad = ((1.0, -1.0, 1.0), (1.0, 1.0, 0.0), (1.0, jnp.inf, 1.0), (1.0, 1.0, jnp.inf))
    for x, mean, concentration in (*bad, (jnp.nan, 1.0, 1.0)):
        assert jnp.isnan(negative_binomial.log_prob(x, mean, concentration))
    for x in (0.0, 1.0, 1e6):
        for mean in (1e-6, 1.0, 1e6):
            for concentration in (1e-6, 1.0, 1e6):
                value, gradient = VALUE_AND_GRAD(x, mean, concentration)
                assert jnp.isfinite(value)
                assert all(jnp.isfinite(g) for g in gradient)


def test_draws_follow_the_probabilities():
    """Chi-square at 1e-4 for each case."""
    mean, concentration = jnp.asarray(CASES[:3]).T
    draw = lambda key: negative_binomial.sample(key, mean, concentration)
    draws = np.asarray(jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(0), 10_000)))
    for i, (m, r) in enumerate(CASES[:3]):
        exact = stats.nbinom(r, r / (r + m))
        edges = np.unique(exact.ppf(np.linspace(0.02, 0.98, 12)))
        mass = np.diff(exact.cdf([-1, *edges, np.inf]))
        counts = np.histogram(draws[:, i], [-0.5, *(edges + 0.5), np.inf])[0]
        assert stats.chisquare(counts, mass * len(draws)).pvalue > 1e-4
