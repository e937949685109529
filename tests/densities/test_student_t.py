import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import stats

from genmix.densities import student_t


def elementwise_value_and_grad(f, argnums):
    return jax.jit(jax.vmap(jax.value_and_grad(f, argnums)))


# Below, at and above the switch to the asymptotic series, which is at df = 20.
DF = [1e-2, 0.5, 1.0, 3.0, 19.9, 20.0, 20.1, 50.0, 1e3, 1e6]


@pytest.mark.usefixtures("x64")
def test_log_prob_and_entropy_match_scipy(variant):
    x, df = jnp.array(list(itertools.product([-1e3, -2.0, 0.4, 3.0, 1e8], DF))).T
    loc, scale = jnp.full_like(x, 0.5), jnp.full_like(x, 1.7)
    got = variant(student_t.log_prob)(x, df, loc, scale)
    np.testing.assert_allclose(got, stats.t.logpdf(x, df, loc, scale), rtol=1e-10)
    got = variant(student_t.entropy)(df, loc, scale)
    np.testing.assert_allclose(got, stats.t.entropy(df, loc, scale), rtol=1e-10)


@pytest.mark.usefixtures("x64")
def test_series_for_large_df_continues_the_gamma_functions():
    """By Gamma(a + 1) = a Gamma(a), from a = df / 2 = 9.5 (gammaln) to 10.5 (the series)."""
    got = student_t.log_prob(0.0, 21.0, 0.0, 1.0) - student_t.log_prob(0.0, 19.0, 0.0, 1.0)
    np.testing.assert_allclose(
        got, np.log1p(0.5 / 9.5) - 0.5 * np.log1p(1 / 9.5), rtol=0, atol=1e-14
    )


@pytest.mark.usefixtures("x64")
def test_derivatives_match_finite_differences():
    # at the location, near, and beyond the switch of the tail, either side of the switch in df
    x, df = jnp.array(list(itertools.product([0.3, 2.5, 90.0], [0.3, 4.0, 19.0, 21.0, 300.0]))).T
    loc, scale = jnp.full_like(x, 0.3), jnp.full_like(x, 1.7)
    check_grads(jax.jit(student_t.log_prob), (x, df, loc, scale), 1, ["rev"], rtol=1e-6)
    in_x = jax.jit(lambda x: student_t.log_prob(x, df, loc, scale))
    check_grads(in_x, (x,), 2, ["rev"], rtol=1e-5)
    check_grads(jax.jit(student_t.entropy), (df, loc, scale), 1, ["rev"], rtol=1e-6)


@pytest.mark.parametrize("df", [0.5, 3.0, 1e6])
def test_sample_follows_the_density(df):
    """Kolmogorov-Smirnov, 20,000 draws; false alarm 1e-4 each over keys, the key is fixed."""
    x = student_t.sample(jax.random.key(0), jnp.full(20_000, df), -1.5, 0.3)
    assert stats.kstest(x, stats.t(df, -1.5, 0.3).cdf).pvalue > 1e-4


def test_sample_is_reparameterized_in_loc_and_scale():
    draw = lambda loc, scale: student_t.sample(jax.random.key(1), 3.0, loc, scale)
    x = draw(2.0, 3.0)
    d_loc, d_scale = jax.grad(draw, argnums=(0, 1))(2.0, 3.0)
    assert d_loc == 1.0
    np.testing.assert_allclose(d_scale, (x - 2.0) / 3.0, rtol=1e-5)


@pytest.mark.usefixtures("x64")
def test_sample_is_reparameterized_in_df():
    """d E[log(1 + t^2)] / d df, from 40,000 draws, within 4.5 standard errors: false alarm 1e-5."""
    df = jnp.repeat(jnp.array([2.5, 30.0])[:, None], 40_000, axis=1)
    statistic = lambda df: jnp.log1p(student_t.sample(jax.random.key(2), df, 0.0, 1.0) ** 2)
    gradient = np.asarray(jax.jit(jax.grad(lambda df: statistic(df).sum()))(df))
    for got, d in zip(gradient, (2.5, 30.0), strict=True):
        h = 1e-4 * d
        above, below = (stats.t.expect(lambda t: np.log1p(t**2), (e,)) for e in (d + h, d - h))
        expected = (above - below) / (2 * h)
        standard_error = got.std() / 200
        assert abs(got.mean() - expected) < 4.5 * standard_error
        assert standard_error < abs(expected) / 20  # sharp enough to see a missing factor


@pytest.mark.parametrize(("df", "scale"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 0.0), (2.0, -1.0)])
def test_bad_parameter_is_nan(df, scale):
    for bad in ((df, scale), (jnp.nan, 1.0), (1.0, jnp.nan)):
        assert jnp.isnan(student_t.log_prob(0.0, bad[0], 0.0, bad[1]))
        assert jnp.isnan(student_t.entropy(bad[0], 0.0, bad[1]))
        assert jnp.isnan(student_t.sample(jax.random.key(0), bad[0], 0.0, bad[1]))


def test_nan_in_is_nan_out():
    assert jnp.isnan(student_t.log_prob(jnp.nan, 2.0, 0.0, 1.0))
    assert jnp.isnan(student_t.log_prob(0.0, 2.0, jnp.nan, 1.0))
    assert jnp.isnan(student_t.entropy(2.0, jnp.nan, 1.0))


def test_extreme_inputs_are_finite_in_value_and_gradient():
    locations, scales = [-1e6, 0.0, 1e-12, 1e6], [1e-12, 1e-3, 1.0, 1e6]
    df = [1e-3, 1.0, 20.0, 1e6]
    arguments = jnp.array(list(itertools.product(locations, df, locations, scales))).T
    value, gradient = elementwise_value_and_grad(student_t.log_prob, argnums=(0, 1, 2, 3))(
        *arguments
    )
    assert jnp.all(jnp.isfinite(jnp.stack([value, *gradient])))
    value, gradient = elementwise_value_and_grad(student_t.entropy, argnums=(0, 2))(
        arguments[1], arguments[2], arguments[3]
    )
    assert jnp.all(jnp.isfinite(jnp.stack([value, *gradient])))


def test_sample_gradient_is_finite():
    df = jnp.repeat(jnp.array([0.1, 1.0, 1e6]), 200)
    total = lambda df: student_t.sample(jax.random.key(3), df, 0.0, 1.0).sum()
    assert jnp.all(jnp.isfinite(jax.jit(jax.grad(total))(df)))
