import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import stats

from genmix.densities import multivariate_normal

SCIPY: Any = stats.multivariate_normal  # its stub says that a covariance is an int

LOC_P, LOC_Q = np.array([0.3, -1.0, 2.0]), np.array([0.0, 0.5, 1.5])
TRIL_P = np.array([[0.7, 0.0, 0.0], [-1.2, 2.0, 0.0], [0.4, 0.3, 0.1]])
TRIL_Q = np.array([[1.5, 0.0, 0.0], [0.2, 0.6, 0.0], [-0.9, 0.1, 0.8]])


def textbook_kl(loc_p, cov_p, loc_q, cov_q):
    precision, shift = np.linalg.inv(cov_q), loc_q - loc_p
    log_det = np.linalg.slogdet(cov_q)[1] - np.linalg.slogdet(cov_p)[1]
    return 0.5 * (np.trace(precision @ cov_p) + shift @ precision @ shift - len(loc_p) + log_det)


@pytest.mark.usefixtures("x64")
def test_log_prob_and_entropy_match_scipy(variant):
    reference = SCIPY(LOC_P, TRIL_P @ TRIL_P.T)
    x, loc, tril = jnp.array([1.0, -3.0, 2.2]), jnp.array(LOC_P), jnp.array(TRIL_P)
    got = variant(multivariate_normal.log_prob)(x, loc, tril)
    np.testing.assert_allclose(got, reference.logpdf(np.asarray(x)), rtol=1e-10)
    got = variant(multivariate_normal.entropy)(loc, tril)
    np.testing.assert_allclose(got, reference.entropy(), rtol=1e-10)


@pytest.mark.usefixtures("x64")
def test_kl_matches_the_textbook(variant):
    expected = textbook_kl(LOC_P, TRIL_P @ TRIL_P.T, LOC_Q, TRIL_Q @ TRIL_Q.T)
    arguments = (jnp.array(a) for a in (LOC_P, TRIL_P, LOC_Q, TRIL_Q))
    np.testing.assert_allclose(variant(multivariate_normal.kl)(*arguments), expected, rtol=1e-10)


@pytest.mark.usefixtures("x64")
def test_entries_above_the_diagonal_are_ignored_and_have_zero_gradient():
    loc_p, loc_q = jnp.array(LOC_P), jnp.array(LOC_Q)
    clean = jnp.array(TRIL_P)
    dirty = clean + jnp.triu(jnp.full((3, 3), jnp.nan), 1)
    for f in (
        lambda tril: multivariate_normal.log_prob(loc_q, loc_p, tril),
        lambda tril: multivariate_normal.sample(jax.random.key(0), loc_p, tril).sum(),
        lambda tril: multivariate_normal.entropy(loc_p, tril),
        lambda tril: multivariate_normal.kl(loc_p, tril, loc_q, clean),
        lambda tril: multivariate_normal.kl(loc_p, clean, loc_q, tril),
    ):
        value, gradient = jax.value_and_grad(f)(dirty)
        assert value == f(clean)
        np.testing.assert_array_equal(jnp.triu(gradient, 1), np.zeros((3, 3)))
        assert jnp.all(jnp.isfinite(gradient))


def test_sample_follows_the_density():
    """Kolmogorov-Smirnov on 4 projections, 20,000 draws; false alarm 4e-5, the key is fixed."""
    loc, tril = jnp.array(LOC_P), jnp.array(TRIL_P)
    keys = jax.random.split(jax.random.key(0), 20_000)
    draws = jax.vmap(lambda key: multivariate_normal.sample(key, loc, tril))
    x = np.asarray(jax.jit(draws)(keys))
    for a in ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.5, 1.0, -4.0], [1.0, 1.0, 1.0]):
        deviation = np.linalg.norm(a @ TRIL_P)
        assert stats.kstest(x @ a, stats.norm(a @ LOC_P, deviation).cdf).pvalue > 1e-5


@pytest.mark.usefixtures("x64")
def test_sample_is_reparameterized():
    """x = loc + L noise: by Euler's relation for a linear function, L . dx/dL = x - loc."""
    draw = lambda loc, tril: multivariate_normal.sample(jax.random.key(1), loc, tril)
    loc, tril = jnp.array(LOC_P), jnp.array(TRIL_P)
    d_loc, d_tril = jax.jacrev(draw, argnums=(0, 1))(loc, tril)
    np.testing.assert_array_equal(d_loc, np.eye(3))
    got = jnp.einsum("ijk,jk->i", d_tril, tril)
    np.testing.assert_allclose(got, draw(loc, tril) - loc, rtol=1e-10)


@pytest.mark.usefixtures("x64")
def test_derivatives_match_finite_differences():
    arguments = [jnp.array(a) for a in (LOC_P, TRIL_P, LOC_Q, TRIL_Q)]
    check_grads(jax.jit(multivariate_normal.kl), arguments, 1, ["rev"], rtol=1e-6)
    log_prob = jax.jit(multivariate_normal.log_prob)
    check_grads(log_prob, (arguments[2], *arguments[:2]), 1, ["rev"], rtol=1e-6)


@pytest.mark.parametrize("bad", [0.0, -1.0, jnp.nan])
def test_bad_diagonal_is_nan(bad):
    loc, good = jnp.zeros(2), jnp.eye(2)
    tril = good.at[1, 1].set(bad)
    for x in (loc, jnp.array([1.0, 2.0])):
        assert jnp.isnan(multivariate_normal.log_prob(x, loc, tril))
    assert jnp.isnan(multivariate_normal.entropy(loc, tril))
    assert jnp.all(jnp.isnan(multivariate_normal.sample(jax.random.key(0), loc, tril)))
    assert jnp.isnan(multivariate_normal.kl(loc, tril, loc, good))
    assert jnp.isnan(multivariate_normal.kl(loc, good, loc, tril))
    assert jnp.isnan(multivariate_normal.kl(loc, tril, loc, tril))


def test_shapes_that_do_not_fit_raise():
    loc, longer, tril = jnp.zeros(2), jnp.zeros(3), jnp.eye(2)
    with pytest.raises(ValueError, match=r"x must have shape \(2,\), got \(3,\).*jax.vmap"):
        multivariate_normal.log_prob(longer, loc, tril)
    with pytest.raises(ValueError, match=r"scale_tril must have shape \(3, 3\), got \(2, 2\)"):
        multivariate_normal.log_prob(longer, longer, tril)
    with pytest.raises(ValueError, match=r"scale_tril must have shape \(3, 3\), got \(2, 2\)"):
        multivariate_normal.sample(jax.random.key(0), longer, tril)
    with pytest.raises(ValueError, match=r"scale_tril must have shape \(3, 3\), got \(2, 2\)"):
        multivariate_normal.entropy(longer, tril)
    with pytest.raises(ValueError, match=r"loc_q must have shape \(2,\), got \(3,\)"):
        multivariate_normal.kl(loc, tril, longer, tril)


def test_extreme_inputs_have_finite_values_and_no_nan_gradient():
    loc, shape = jnp.zeros(3), jnp.array([[1.0, 7.0, 7.0], [0.5, 1.0, 7.0], [-0.3, 0.2, 1.0]])
    log_prob = jax.jit(jax.value_and_grad(multivariate_normal.log_prob, (0, 1, 2)))
    kl = jax.jit(jax.value_and_grad(multivariate_normal.kl, (0, 1, 2, 3)))
    for x, scale in itertools.product([0.0, 1e6], [1e-12, 1e-3, 1.0, 1e6]):
        point, tril = x * jnp.array([1.0, -1.0, 0.5]), scale * shape
        for value, gradient in (
            log_prob(point, loc, tril),
            kl(point, jnp.eye(3), loc, tril),
            kl(point, tril, loc, jnp.eye(3)),
        ):
            gradient = jnp.concatenate([g.ravel() for g in gradient])
            assert jnp.isfinite(value)
            assert not jnp.any(jnp.isnan(gradient))
            if scale > 1e-12 or x == 0:  # else the gradient in scale_tril is over 1e38
                assert jnp.all(jnp.isfinite(gradient))
