import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from genmix.densities import bessel

ORDERS = [0.0, 0.5, 2.3, 29.99, 500.0]
X = np.concatenate([np.logspace(-6, 6, 97), np.linspace(25, 35, 21)])  # finer where methods meet


def forms(order, x):
    return bessel.log_bessel_i(order, x), bessel.log_reduced(order, x), *bessel.ratio(order, x)


def expected_reduced(order):
    """The reduced logarithm by scipy, NaN where its Bessel function underflows."""
    scaled = special.ive(order, X)
    log_scaled = np.log(np.where(scaled > 1e-290, scaled, np.nan))
    return log_scaled + special.gammaln(order + 1) - order * np.log(X / 2)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("order", [0.0, 7.0, 31.0])
def test_variants_match_scipy(variant, order):
    value = variant(lambda x: bessel.log_bessel_i(order, x))(jnp.array([0.3, 20.0, 400.0]))
    expected = np.log(special.ive(order, [0.3, 20.0, 400.0])) + np.array([0.3, 20.0, 400.0])
    np.testing.assert_allclose(value, expected, rtol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("order", ORDERS)
def test_value_and_ratio_match_scipy(order):
    """The absolute error of a logarithm is the relative error of the Bessel function."""
    expected = expected_reduced(order)
    known = ~np.isnan(expected)
    log_i, reduced, ratio, rest = jax.jit(lambda x: forms(order, x))(X)
    np.testing.assert_allclose(reduced[known], expected[known], rtol=0, atol=1e-11)
    log_scale = X - math.lgamma(order + 1) + order * np.log(X / 2)
    np.testing.assert_allclose(log_i, reduced + log_scale, rtol=1e-12)
    expected = special.ive(order + 1, X[known]) / special.ive(order, X[known])
    known_ratio = expected > 1e-290
    np.testing.assert_allclose(ratio[known][known_ratio], expected[known_ratio], rtol=1e-11)
    np.testing.assert_allclose(ratio + rest, np.ones_like(X), rtol=1e-14)


def forms_and_slopes(order, x):
    return jax.jit(lambda x: jax.jvp(lambda x: forms(order, x), (x,), (jnp.ones_like(x),)))(x)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("order", ORDERS)
def test_derivatives(order):
    """I_v' = (I_{v-1} + I_{v+1}) / 2, and A' = 1 - A**2 - (2 v + 1) A / x for the ratio A."""
    (_, _, ratio, rest), slopes = forms_and_slopes(order, jnp.array(X))
    scaled = special.ive(order, X)
    known = special.ive(order + 1, X) > 1e-290
    expected = 0.5 * (special.ive(order - 1, X) + special.ive(order + 1, X))[known] / scaled[known]
    np.testing.assert_allclose(slopes[0][known], expected, rtol=1e-10)
    np.testing.assert_allclose(slopes[1], -rest, rtol=1e-12)
    expected = rest * (1 + ratio) - (2 * order + 1) * ratio / X
    moderate = X < 1e3  # beyond, the expected value cancels
    np.testing.assert_allclose(slopes[2][moderate], expected[moderate], rtol=1e-8)
    np.testing.assert_allclose(slopes[3][moderate], -expected[moderate], rtol=1e-8)


@pytest.mark.parametrize("order", [0.0, 500.0])
def test_float32_agrees_with_float64(order):
    """Each form keeps the digits that it has, up to x = 1e6, and so does the small one's slope."""
    (_, reduced, ratio, rest), slopes = forms_and_slopes(order, jnp.float32(X))
    with jax.enable_x64(True):
        wide, wide_slopes = forms_and_slopes(order, jnp.float64(np.float32(X)))
    np.testing.assert_allclose(reduced, wide[1], rtol=1e-6, atol=1e-6 * (order + 1))
    np.testing.assert_allclose(ratio, wide[2], rtol=2e-6)
    np.testing.assert_allclose(rest, wide[3], rtol=1e-4)
    np.testing.assert_allclose(slopes[3], wide_slopes[3], rtol=2e-3)


@pytest.mark.parametrize("order", [0.0, 2.5, 40.0])
def test_at_zero(order):
    values, slopes = forms_and_slopes(order, jnp.array(0.0))
    assert values[0] == (0.0 if order == 0 else -jnp.inf)
    assert slopes[0] == (0.0 if order == 0 else jnp.inf)
    np.testing.assert_allclose(values[1:], (0.0, 0.0, 1.0), atol=1e-6)
    half_width = 1 / (2 * order + 2)
    np.testing.assert_allclose(slopes[1:], (-1.0, half_width, -half_width), rtol=1e-6)


@pytest.mark.parametrize("order", [0.0, 40.0])
def test_bad_argument_is_nan(order):
    for values in jax.jit(lambda x: forms(order, x))(jnp.array([-1.0, jnp.nan])):
        assert jnp.all(jnp.isnan(values))


@pytest.mark.parametrize("order", [-0.5, math.inf, math.nan])
def test_bad_order_is_an_error(order):
    with pytest.raises(ValueError, match="order must be finite and at least 0, got"):
        bessel.log_bessel_i(order, 1.0)
    with pytest.raises(ValueError, match="order must be finite and at least 0, got"):
        bessel.ratio(order, 1.0)


@pytest.mark.parametrize("order", [0.0, 0.5, 3.0, 1e20])
@pytest.mark.parametrize("x", [1e20, 1e38, 3.4e38])
def test_arguments_near_the_largest_float(order, x):
    """In float32 as in float64, where nothing comes near an overflow; the ratio was 0 at 1e38."""
    with jax.enable_x64(True):
        expected = float(bessel.log_reduced(order, x)), float(bessel.log_bessel_i(order, x))
        ratios = [float(ratio) for ratio in bessel.ratio(order, x)]
    single = jnp.float32(x)
    np.testing.assert_allclose(bessel.log_reduced(order, single), expected[0], rtol=2e-6)
    np.testing.assert_allclose(bessel.log_bessel_i(order, single), expected[1], rtol=2e-6)
    np.testing.assert_allclose(bessel.ratio(order, single), ratios, rtol=2e-6, atol=1e-37)
    slope = jax.grad(lambda x: bessel.log_bessel_i(order, x))(single)
    np.testing.assert_allclose(slope, ratios[0] + order / x, rtol=2e-6)
