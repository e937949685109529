import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import stats

from genmix.densities import low_rank_normal

SCIPY: Any = stats.multivariate_normal  # its stub says that a covariance is an int

LOC_P, LOC_Q = np.array([0.3, -1.0, 2.0, 0.0]), np.array([0.0, 0.5, 1.5, -0.2])
FACTOR_P = np.array([[0.7, 0.1], [-1.2, 2.0], [0.4, 0.3], [0.0, 1.1]])
FACTOR_Q = np.array([[1.5], [0.2], [-0.9], [0.3]])
SCALE_P, SCALE_Q = np.array([0.4, 1.0, 0.2, 0.9]), np.array([0.6, 0.5, 1.3, 1.0])
COV_P = np.diag(SCALE_P**2) + FACTOR_P @ FACTOR_P.T
COV_Q = np.diag(SCALE_Q**2) + FACTOR_Q @ FACTOR_Q.T


@pytest.mark.usefixtures("x64")
def test_log_prob_and_entropy_match_scipy(variant):
    loc, factor, scale = jnp.array(LOC_P), jnp.array(FACTOR_P), jnp.array(SCALE_P)
    got = variant(low_rank_normal.log_prob)(jnp.array(LOC_Q), loc, factor, scale)
    np.testing.assert_allclose(got, SCIPY.logpdf(LOC_Q, LOC_P, COV_P), rtol=1e-10)
    got = variant(low_rank_normal.entropy)(loc, factor, scale)
    np.testing.assert_allclose(got, SCIPY.entropy(LOC_P, COV_P), rtol=1e-10)


@pytest.mark.usefixtures("x64")
def test_kl_matches_the_textbook(variant):
    precision, shift = np.linalg.inv(COV_Q), LOC_Q - LOC_P
    log_det = np.linalg.slogdet(COV_Q)[1] - np.linalg.slogdet(COV_P)[1]
    expected = 0.5 * (np.trace(precision @ COV_P) + shift @ precision @ shift - 4 + log_det)
    arguments = (jnp.array(a) for a in (LOC_P, FACTOR_P, SCALE_P, LOC_Q, FACTOR_Q, SCALE_Q))
    np.testing.assert_allclose(variant(low_rank_normal.kl)(*arguments), expected, rtol=1e-10)


def test_float32_keeps_its_digits_where_the_factor_explains_the_event():
    """Woodbury's difference of squares is 1e7 - 1e7 here and rounds to anything."""
    factor, scale = np.array([[3.0], [1.0], [-2.0]]), np.array([1e-3, 2e-3, 1e-3])
    x = factor[:, 0] * 0.8 + scale * np.array([0.3, -1.0, 0.5])
    cov = np.diag(scale**2) + factor @ factor.T
    expected = SCIPY.logpdf(x, np.zeros(3), cov)
    arguments = (jnp.asarray(a, jnp.float32) for a in (x, np.zeros(3), factor, scale))
    np.testing.assert_allclose(low_rank_normal.log_prob(*arguments), expected, rtol=1e-4)


def test_rank_zero_is_the_diagonal_normal():
    x, scale = jnp.array(LOC_Q), jnp.array(SCALE_P)
    got = low_rank_normal.log_prob(x, jnp.zeros(4), jnp.zeros((4, 0)), scale)
    np.testing.assert_allclose(got, stats.norm.logpdf(LOC_Q, 0.0, SCALE_P).sum(), rtol=1e-5)


def test_sample_follows_the_density():
    """Kolmogorov-Smirnov on 4 projections, 20,000 draws; false alarm 4e-5, the key is fixed."""
    arguments = [jnp.array(a) for a in (LOC_P, FACTOR_P, SCALE_P)]
    keys = jax.random.split(jax.random.key(0), 20_000)
    draws = jax.vmap(lambda key: low_rank_normal.sample(key, *arguments))
    x = np.asarray(jax.jit(draws)(keys))
    directions = [1.0, 0.0, 0.0, 0.0], [0.5, 1.0, -4.0, 0.0], [1.0, 1.0, 1.0, 1.0], [0, 0, 1.0, -2]
    for a in map(np.array, directions):
        deviation = np.sqrt(a @ COV_P @ a)
        assert stats.kstest(x @ a, stats.norm(a @ LOC_P, deviation).cdf).pvalue > 1e-5


@pytest.mark.usefixtures("x64")
def test_sample_is_reparameterized():
    """x - loc is linear in (factor, scale) together: Euler's relation gives it back."""
    draw = jax.jit(lambda *arguments: low_rank_normal.sample(jax.random.key(1), *arguments))
    loc, factor, scale = jnp.array(LOC_P), jnp.array(FACTOR_P), jnp.array(SCALE_P)
    d_loc, d_factor, d_scale = jax.jacrev(draw, argnums=(0, 1, 2))(loc, factor, scale)
    np.testing.assert_array_equal(d_loc, np.eye(4))
    got = jnp.einsum("ijk,jk->i", d_factor, factor) + d_scale @ scale
    np.testing.assert_allclose(got, draw(loc, factor, scale) - loc, rtol=1e-10)


@pytest.mark.usefixtures("x64")
def test_derivatives_match_finite_differences():
    p = [jnp.array(a) for a in (LOC_P, FACTOR_P, SCALE_P)]
    q = [jnp.array(a) for a in (LOC_Q, FACTOR_Q, SCALE_Q)]
    check_grads(jax.jit(low_rank_normal.kl), (*p, *q), 1, ["rev"], rtol=1e-6)
    check_grads(jax.jit(low_rank_normal.log_prob), (q[0], *p), 1, ["rev"], rtol=1e-6)


@pytest.mark.parametrize("bad", [0.0, -1.0, jnp.nan])
def test_bad_scale_is_nan(bad):
    loc, factor, good = jnp.zeros(2), jnp.array([[1.0], [0.5]]), jnp.ones(2)
    scale = good.at[1].set(bad)
    for x in (loc, jnp.array([1.0, 2.0])):
        assert jnp.isnan(low_rank_normal.log_prob(x, loc, factor, scale))
    assert jnp.isnan(low_rank_normal.entropy(loc, factor, scale))
    draw = low_rank_normal.sample(jax.random.key(0), loc, factor, scale)
    np.testing.assert_array_equal(jnp.isnan(draw), [False, True])
    assert jnp.isnan(low_rank_normal.kl(loc, factor, scale, loc, factor, good))
    assert jnp.isnan(low_rank_normal.kl(loc, factor, good, loc, factor, scale))
    assert jnp.isnan(low_rank_normal.kl(loc, factor, scale, loc, factor, scale))


def test_shapes_that_do_not_fit_raise():
    loc, longer, factor, scale = jnp.zeros(2), jnp.zeros(3), jnp.ones((2, 1)), jnp.ones(2)
    with pytest.raises(ValueError, match=r"x must have shape \(2,\), got \(3,\)"):
        low_rank_normal.log_prob(longer, loc, factor, scale)
    with pytest.raises(ValueError, match=r"factor must have shape \(3, 1\), got \(2, 1\)"):
        low_rank_normal.entropy(longer, factor, longer)
    with pytest.raises(ValueError, match=r"scale must have shape \(2,\), got \(3,\)"):
        low_rank_normal.sample(jax.random.key(0), loc, factor, longer)
    with pytest.raises(ValueError, match=r"loc_q must have shape \(2,\), got \(3,\)"):
        low_rank_normal.kl(loc, factor, scale, longer, factor, scale)


def test_collinear_columns_longer_than_the_precision_are_nan():
    factor = jnp.full((3, 2), 1e5)
    got = low_rank_normal.log_prob(jnp.ones(3), jnp.zeros(3), factor, jnp.ones(3))
    assert jnp.isnan(got)  # as documented


def test_extreme_inputs_have_finite_values_and_no_nan_gradient():
    loc, ones = jnp.zeros(3), jnp.ones(3)
    factor = jnp.array([[1.0, 0.2], [-0.5, 0.3], [0.3, 0.9]])
    log_prob = jax.jit(jax.value_and_grad(low_rank_normal.log_prob, (0, 1, 2, 3)))
    kl = jax.jit(jax.value_and_grad(low_rank_normal.kl, (0, 1, 2, 3, 4, 5)))
    for x, scale in itertools.product([0.0, 1e6], [1e-12, 1e-3, 1.0, 1e6]):
        point = x * jnp.array([1.0, -1.0, 0.5])
        for value, gradient in (
            log_prob(point, loc, factor, scale * ones),
            kl(point, factor, ones, loc, factor[:, :1], scale * ones),
            kl(point, factor, scale * ones, loc, factor[:, :1], ones),
        ):
            gradient = jnp.concatenate([g.ravel() for g in gradient])
            assert jnp.isfinite(value)
            assert not jnp.any(jnp.isnan(gradient))
            if scale > 1e-12 or x == 0:  # else the gradient in scale is over 1e38
                assert jnp.all(jnp.isfinite(gradient))
