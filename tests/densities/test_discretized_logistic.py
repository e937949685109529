import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads
from scipy import stats

from genmix.densities import discretized_logistic


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("dtype", [jnp.float64, jnp.uint8])
def test_log_prob_matches_differences_of_the_cdf(variant, dtype):
    levels = np.arange(256)
    edges = -1 + (2 * np.arange(1, 256) - 1) / 255
    for loc, scale in ((0.1, 0.3), (-0.9, 0.05), (0.0, 2.0)):
        cdf = np.concatenate([[0.0], stats.logistic.cdf(edges, loc, scale), [1.0]])
        got = variant(discretized_logistic.log_prob)(
            jnp.asarray(levels, dtype), jnp.full(256, loc), jnp.full(256, scale)
        )
        # the reference is a difference of numbers close to one: absolute, not relative, digits
        np.testing.assert_allclose(np.exp(got), np.diff(cdf), rtol=1e-10, atol=1e-15)


@pytest.mark.usefixtures("x64")
def test_far_tail_is_exact():
    """Far to the right p = exp(-left / scale) (1 - exp(-width / scale)), where the CDF says 0."""
    got = discretized_logistic.log_prob(200.0, -5.0, 0.01)
    left, width = (2 * 200.0 - 1) / 255 - 1 + 5.0, 2 / 255
    expected = -left / 0.01 + np.log1p(-np.exp(-width / 0.01))
    np.testing.assert_allclose(got, expected, rtol=1e-10)


_log_prob = jax.jit(discretized_logistic.log_prob, static_argnames="num_levels")


@settings(deadline=None, max_examples=100)
@given(
    loc=st.floats(-1e6, 1e6) | st.floats(-1.1, 1.1),
    log_scale=st.floats(np.log(1e-12), np.log(1e6)),
    num_levels=st.sampled_from([2, 3, 256]),
)
def test_sums_to_one(loc, log_scale, num_levels):
    with jax.enable_x64(True):
        scale = jnp.exp(jnp.float64(log_scale))
        levels = jnp.arange(num_levels)
        log_p = _log_prob(levels, jnp.float64(loc), scale, num_levels=num_levels)
        np.testing.assert_allclose(jnp.exp(log_p).sum(), 1.0, rtol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("scale", [1e-12, 1e-6])
def test_sums_to_one_where_the_mass_sits_on_an_edge(scale):
    """A bin whose right edge is a bit off its neighbour's left edge loses up to 1e-4 here."""
    edges = (2 * jnp.arange(1, 256) - 256) / 255
    log_p = jax.vmap(_log_prob, in_axes=(None, 0, None))(jnp.arange(256), edges, scale)
    np.testing.assert_allclose(jnp.exp(log_p).sum(1), np.ones(255), rtol=1e-12)


def test_off_the_levels_is_minus_inf_with_zero_gradient():
    x = jnp.array([-1.0, 256.0, 3.5, -0.0001, 1e6, jnp.inf, -jnp.inf])
    value_and_grad = jax.value_and_grad(discretized_logistic.log_prob, argnums=(0, 1, 2))
    value, gradient = jax.jit(jax.vmap(value_and_grad, in_axes=(0, None, None)))(x, 0.2, 0.1)
    np.testing.assert_array_equal(value, np.full(7, -np.inf))
    np.testing.assert_array_equal(jnp.stack(gradient), np.zeros((3, 7)))


def test_bad_parameter_is_nan():
    for x, scale in itertools.product((0.0, 3.0, 255.0, 256.0), (0.0, -1.0, jnp.nan)):
        assert jnp.isnan(discretized_logistic.log_prob(x, 0.1, scale))
    for x in (0.0, 3.0, 255.0, 256.0):
        assert jnp.isnan(discretized_logistic.log_prob(x, jnp.nan, 1.0))
    assert jnp.isnan(discretized_logistic.log_prob(jnp.nan, 0.0, 1.0))
    assert jnp.isnan(discretized_logistic.sample(jax.random.key(0), 0.0, -1.0))


@pytest.mark.parametrize("num_levels", [1, 0, -3])
def test_fewer_than_two_levels_raise(num_levels):
    with pytest.raises(ValueError, match=f"num_levels must be at least 2, got {num_levels}"):
        discretized_logistic.log_prob(0, 0.0, 1.0, num_levels=num_levels)


def test_extreme_inputs_are_finite_in_value_and_gradient():
    x = [0.0, 1.0, 127.0, 128.0, 254.0, 255.0]
    loc, scale = [-1e6, -1.0, 0.0, 1e-12, 1.0, 1e6], [1e-12, 1e-3, 1.0, 1e6]
    arguments = jnp.array(list(itertools.product(x, loc, scale))).T
    value_and_grad = jax.value_and_grad(discretized_logistic.log_prob, argnums=(1, 2))
    value, gradient = jax.jit(jax.vmap(value_and_grad))(*arguments)
    assert jnp.all(jnp.isfinite(jnp.stack([value, *gradient])))


@pytest.mark.usefixtures("x64")
def test_derivatives_match_finite_differences():
    x = jnp.array([0.0, 1.0, 100.0, 254.0, 255.0])
    f = jax.jit(lambda loc, scale: discretized_logistic.log_prob(x, loc, scale))
    check_grads(f, (jnp.full(5, -0.2), jnp.full(5, 0.3)), 2, ["rev"], rtol=1e-5)


def test_sample_frequencies():
    """Chi-square over 5 levels, 20,000 draws; false alarm 1e-4 over keys, the key is fixed."""
    x = discretized_logistic.sample(jax.random.key(0), jnp.full(20_000, 0.4), 0.3, num_levels=5)
    assert x.dtype == jnp.float32
    counts = np.bincount(np.asarray(x, int), minlength=5)
    log_p = discretized_logistic.log_prob(jnp.arange(5), 0.4, 0.3, num_levels=5)
    expected = 20_000 * np.exp(np.asarray(log_p, np.float64))
    assert stats.chisquare(counts, expected * 20_000 / expected.sum()).pvalue > 1e-4


def test_sample_stays_on_the_levels_and_has_no_gradient():
    x = discretized_logistic.sample(jax.random.key(0), jnp.array([-1e6, -0.5, 1e6]), 1e-3)
    np.testing.assert_array_equal(x, [0.0, 64.0, 255.0])
    draw = lambda loc: discretized_logistic.sample(jax.random.key(0), loc, 1.0)
    assert jax.grad(draw)(0.3) == 0.0
