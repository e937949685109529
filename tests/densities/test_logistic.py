import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import special, stats

from genmix.densities import logistic


def elementwise_value_and_grad(f, argnums):
    return jax.jit(jax.vmap(jax.value_and_grad(f, argnums)))


@pytest.mark.usefixtures("x64")
def test_log_prob_and_entropy_match_scipy(variant):
    x = jnp.array([-3.0, 0.0, 0.2, 1e3, jnp.nan, 0.5])
    loc = jnp.array([0.5, 0.0, -2.0, -1e3, 0.0, jnp.nan])
    scale = jnp.array([0.1, 1.0, 7.0, 30.0, 1.0, 1.0])
    got = variant(logistic.log_prob)(x, loc, scale)
    np.testing.assert_allclose(got, stats.logistic.logpdf(x, loc, scale), rtol=1e-12)
    got = variant(logistic.entropy)(loc, scale)
    np.testing.assert_allclose(got, stats.logistic.entropy(loc, scale), rtol=1e-12)


def test_sample_follows_the_density():
    """Kolmogorov-Smirnov, 20,000 draws; false alarm 1e-4 over keys, the key is fixed."""
    x = logistic.sample(jax.random.key(0), jnp.full(20_000, -1.5), 0.3)
    assert stats.kstest(x, stats.logistic(-1.5, 0.3).cdf).pvalue > 1e-4


def test_sample_is_reparameterized():
    draw = lambda loc, scale: logistic.sample(jax.random.key(1), loc, scale)
    x = draw(2.0, 3.0)
    d_loc, d_scale = jax.grad(draw, argnums=(0, 1))(2.0, 3.0)
    assert d_loc == 1.0
    np.testing.assert_allclose(d_scale, (x - 2.0) / 3.0, rtol=1e-5)


@pytest.mark.parametrize("scale", [0.0, -1.0, jnp.nan])
def test_bad_scale_is_nan(scale):
    for x in (0.0, 1.0):
        assert jnp.isnan(logistic.log_prob(x, 0.0, scale))
    assert jnp.isnan(logistic.entropy(0.0, scale))
    assert jnp.isnan(logistic.sample(jax.random.key(0), 0.0, scale))


def test_extreme_inputs_are_finite_in_value_and_gradient():
    locations, scales = [-1e6, 0.0, 1e-12, 1e6], [1e-12, 1e-3, 1.0, 1e6]
    arguments = jnp.array(list(itertools.product(locations, locations, scales))).T
    value, gradient = elementwise_value_and_grad(logistic.log_prob, argnums=(0, 1, 2))(*arguments)
    assert jnp.all(jnp.isfinite(jnp.stack([value, *gradient])))


@pytest.mark.usefixtures("x64")
def test_softplus_matches_scipy_with_its_derivatives(variant):
    x = jnp.array([-jnp.inf, -1e4, -40.0, -1.0, 0.0, 2.0, 40.0, 1e4, jnp.inf, jnp.nan])
    np.testing.assert_allclose(variant(logistic.softplus)(x), -special.log_expit(-x), rtol=1e-13)
    first, second = jax.grad(logistic.softplus), jax.grad(jax.grad(logistic.softplus))
    p = special.expit(np.asarray(x))
    np.testing.assert_allclose(variant(jax.vmap(first))(x), p, rtol=1e-13)
    np.testing.assert_allclose(variant(jax.vmap(second))(x), p * (1 - p), rtol=1e-13)


@pytest.mark.usefixtures("x64")
def test_derivatives_at_the_mode_are_those_of_a_smooth_function():
    check_grads(jax.jit(logistic.log_prob), (0.3, 0.3, 0.7), 2, ["rev"], rtol=1e-6)
