import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from genmix.densities import normal


def elementwise_value_and_grad(f, argnums):
    return jax.jit(jax.vmap(jax.value_and_grad(f, argnums)))


@pytest.mark.usefixtures("x64")
def test_log_prob_and_entropy_match_scipy(variant):
    x = jnp.array([-3.0, 0.0, 0.2, 1e3, jnp.nan, 0.5])
    loc = jnp.array([0.5, 0.0, -2.0, -1e3, 0.0, jnp.nan])
    scale = jnp.array([0.1, 1.0, 7.0, 30.0, 1.0, 1.0])
    got = variant(normal.log_prob)(x, loc, scale)
    np.testing.assert_allclose(got, stats.norm.logpdf(x, loc, scale), rtol=1e-12)
    got = variant(normal.entropy)(loc, scale)
    np.testing.assert_allclose(got, stats.norm.entropy(loc, scale), rtol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("loc", "scale"), [(0.7, 1.3), (-0.2, 0.4), (0.0, 1.0)])
def test_kl_matches_quadrature(variant, loc, scale):
    log_p = lambda x: stats.norm.logpdf(x, loc, scale)
    integrand = lambda x: np.exp(log_p(x)) * (log_p(x) - stats.norm.logpdf(x, 0.3, 0.9))
    expected, _ = integrate.quad(
        integrand, loc - 12 * scale, loc + 12 * scale, epsabs=0, epsrel=1e-12
    )
    arguments = (jnp.array(a) for a in (loc, scale, 0.3, 0.9))
    np.testing.assert_allclose(variant(normal.kl)(*arguments), expected, rtol=1e-10)


def test_kl_keeps_its_digits_where_p_is_close_to_q():
    """To second order KL(N(0, (1 + h)^2) || N(0, 1)) = h^2; the textbook form gives 0 or 1e-7."""
    h = jnp.float32(2.0**-12)
    np.testing.assert_allclose(normal.kl(0.0, 1 + h, 0.0, 1.0), h**2, rtol=1e-3)


def test_scalars_broadcast():
    x, ones = jnp.zeros((3, 2)), jnp.ones((3, 2))
    np.testing.assert_array_equal(
        normal.log_prob(x, 0.0, 1.0), normal.log_prob(x, 0.0 * ones, ones)
    )
    assert normal.entropy(x, 1.0).shape == normal.kl(0.0, 1.0, x, 2.0).shape == (3, 2)
    assert normal.sample(jax.random.key(0), 0.0, ones).shape == (3, 2)


def test_sample_follows_the_density():
    """Kolmogorov-Smirnov, 20,000 draws; false alarm 1e-4 over keys, the key is fixed."""
    x = normal.sample(jax.random.key(0), jnp.full(20_000, -1.5), 0.3)
    assert stats.kstest(x, stats.norm(-1.5, 0.3).cdf).pvalue > 1e-4


def test_sample_is_reparameterized():
    draw = lambda loc, scale: normal.sample(jax.random.key(1), loc, scale)
    x = draw(2.0, 3.0)
    d_loc, d_scale = jax.grad(draw, argnums=(0, 1))(2.0, 3.0)
    assert d_loc == 1.0
    np.testing.assert_allclose(d_scale, (x - 2.0) / 3.0, rtol=1e-5)


@pytest.mark.parametrize("scale", [0.0, -1.0, jnp.nan])
def test_bad_scale_is_nan(scale):
    for x in (0.0, 1.0):  # at the location, where 0 / 0 arises, and off it
        assert jnp.isnan(normal.log_prob(x, 0.0, scale))
    assert jnp.isnan(normal.entropy(0.0, scale))
    assert jnp.isnan(normal.sample(jax.random.key(0), 0.0, scale))
    assert jnp.isnan(normal.kl(0.0, scale, 0.0, 1.0))
    assert jnp.isnan(normal.kl(0.0, 1.0, 0.0, scale))
    assert jnp.isnan(normal.kl(0.0, scale, 0.0, scale))


def test_extreme_inputs_have_finite_values_and_no_nan_gradient():
    locations, scales = [-1e6, 0.0, 1e-12, 1e6], [1e-12, 1e-3, 1.0, 1e6]
    x, loc, scale = jnp.array(list(itertools.product(locations, locations, scales))).T
    value, gradient = elementwise_value_and_grad(normal.log_prob, argnums=(0, 1, 2))(x, loc, scale)
    assert jnp.all(jnp.isfinite(value))
    assert jnp.all(jnp.isfinite(jnp.stack(gradient[:2])))
    overflows = jnp.isinf(((x - loc) / scale) ** 2 / scale)  # as documented
    np.testing.assert_array_equal(jnp.isinf(gradient[2]), overflows)
    assert not jnp.any(jnp.isnan(gradient[2]))

    arguments = jnp.array(list(itertools.product(locations, scales, locations, scales))).T
    value, gradient = elementwise_value_and_grad(normal.kl, argnums=(0, 1, 2, 3))(*arguments)
    assert jnp.all(jnp.isfinite(value))
    assert jnp.all(jnp.isfinite(jnp.stack(gradient[:3])))
    assert not jnp.any(jnp.isnan(gradient[3]))


def test_overflowing_square_is_minus_inf():
    assert normal.log_prob(1e6, 0.0, 1e-20) == -jnp.inf
