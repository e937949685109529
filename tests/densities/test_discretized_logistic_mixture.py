import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from genmix.densities import discretized_logistic_mixture as mixture

LOGITS, LOC, SCALE = [0.5, -1.0, -jnp.inf], [-0.4, 0.7, 0.0], [0.1, 0.02, 1.0]


@pytest.mark.usefixtures("x64")
def test_log_prob_matches_a_weighted_sum_of_cdf_differences(variant):
    weights = special.softmax(np.array(LOGITS))
    edges = -1 + (2 * np.arange(1, 256) - 1) / 255
    cdf = np.stack([stats.logistic.cdf(edges, m, s) for m, s in zip(LOC, SCALE, strict=True)])
    mass = weights @ np.diff(np.pad(cdf, ((0, 0), (1, 1)), constant_values=((0, 0), (0, 1))))
    arguments = jnp.array(LOGITS), jnp.array(LOC), jnp.array(SCALE)
    for level in (0, 50, 77, 216, 255):
        got = variant(mixture.log_prob)(jnp.asarray(level, jnp.uint8), *arguments)
        np.testing.assert_allclose(np.exp(got), mass[level], rtol=1e-10)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("num_levels", [2, 256])
def test_sums_to_one(num_levels):
    f = lambda x: mixture.log_prob(
        x, jnp.array(LOGITS), jnp.array(LOC), jnp.array(SCALE), num_levels=num_levels
    )
    log_p = jax.jit(jax.vmap(f))(jnp.arange(num_levels))
    np.testing.assert_allclose(jnp.exp(log_p).sum(), 1.0, rtol=1e-12)


def test_off_the_levels_is_minus_inf_with_zero_gradient():
    arguments = jnp.array([0.5, -1.0]), jnp.array([-0.4, 0.7]), jnp.array([0.1, 0.02])
    value_and_grad = jax.value_and_grad(mixture.log_prob, argnums=(1, 2, 3))
    f = jax.jit(jax.vmap(value_and_grad, in_axes=(0, None, None, None)))
    value, gradient = f(jnp.array([-1.0, 256.0, 3.5]), *arguments)
    np.testing.assert_array_equal(value, np.full(3, -np.inf))
    np.testing.assert_array_equal(jnp.stack(gradient), np.zeros((3, 3, 2)))


def test_bad_parameter_is_nan():
    logits, loc, scale = jnp.zeros(2), jnp.zeros(2), jnp.ones(2)
    for bad in (0.0, -1.0, jnp.nan):
        assert jnp.isnan(mixture.log_prob(3, logits, loc, jnp.array([1.0, bad])))
    for x in (3, 300):
        assert jnp.isnan(mixture.log_prob(x, jnp.array([0.0, jnp.nan]), loc, scale))
        assert jnp.isnan(mixture.log_prob(x, logits, jnp.array([0.0, jnp.nan]), scale))
    assert jnp.isnan(mixture.log_prob(3, jnp.full(2, -jnp.inf), loc, scale))
    assert jnp.isnan(mixture.log_prob(jnp.nan, logits, loc, scale))


def test_shapes_that_do_not_fit_raise():
    two, three = jnp.ones(2), jnp.ones(3)
    with pytest.raises(ValueError, match=r"loc must have shape \(2,\), got \(3,\)"):
        mixture.log_prob(0, two, three, two)
    with pytest.raises(ValueError, match=r"scale must have shape \(2,\), got \(3,\)"):
        mixture.log_prob(0, two, two, three)
    with pytest.raises(ValueError, match=r"loc must have shape \(2,\), got \(3,\)"):
        mixture.sample(jax.random.key(0), two, three, two)
    with pytest.raises(ValueError, match=r"scale must have shape \(2,\), got \(3,\)"):
        mixture.sample(jax.random.key(0), two, two, three)
    with pytest.raises(ValueError, match="num_levels must be at least 2, got 1"):
        mixture.log_prob(0, two, two, two, num_levels=1)


def test_extreme_inputs_are_finite_in_value_and_gradient():
    x, logits = jnp.array([0.0, 7.0, 255.0]), jnp.array([1e4, -1e4, -jnp.inf, 0.0])
    loc = jnp.array([-1e6, 0.2, 1e6, 1e-12])
    value_and_grad = jax.value_and_grad(mixture.log_prob, argnums=(1, 2, 3))
    f = jax.jit(jax.vmap(value_and_grad, in_axes=(0, None, None, None)))
    for scale in (1e-12, 1e-3, 1.0, 1e6):
        value, gradient = f(x, logits, loc, jnp.full(4, scale))
        assert jnp.all(jnp.isfinite(value))
        assert jnp.all(jnp.isfinite(jnp.stack(gradient)))


def test_sample_frequencies():
    """Chi-square over 5 levels, 20,000 draws; false alarm 1e-4 over keys, the key is fixed."""
    arguments = jnp.array([0.5, -1.0, -jnp.inf]), jnp.array([-0.6, 0.7, 0.0]), jnp.full(3, 0.2)
    draw = lambda key: mixture.sample(key, *arguments, num_levels=5)
    x = jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(0), 20_000))
    assert x.dtype == jnp.float32
    log_prob = jax.vmap(lambda x: mixture.log_prob(x, *arguments, num_levels=5))
    log_p = jax.jit(log_prob)(jnp.arange(5))
    expected = np.exp(np.asarray(log_p, np.float64))
    counts = np.bincount(np.asarray(x, int), minlength=5)
    assert stats.chisquare(counts, 20_000 * expected / expected.sum()).pvalue > 1e-4
