import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from genmix.densities import laplace


def elementwise_value_and_grad(f, argnums):
    return jax.jit(jax.vmap(jax.value_and_grad(f, argnums)))


@pytest.mark.usefixtures("x64")
def test_log_prob_and_entropy_match_scipy(variant):
    x = jnp.array([-3.0, 0.0, 0.2, 1e3, jnp.nan, 0.5])
    loc = jnp.array([0.5, 0.0, -2.0, -1e3, 0.0, jnp.nan])
    scale = jnp.array([0.1, 1.0, 7.0, 30.0, 1.0, 1.0])
    got = variant(laplace.log_prob)(x, loc, scale)
    np.testing.assert_allclose(got, stats.laplace.logpdf(x, loc, scale), rtol=1e-12)
    got = variant(laplace.entropy)(loc, scale)
    np.testing.assert_allclose(got, stats.laplace.entropy(loc, scale), rtol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("loc", "scale"), [(0.7, 1.3), (-0.2, 0.4), (0.3, 1.0)])
def test_kl_matches_quadrature(variant, loc, scale):
    log_p = lambda x: stats.laplace.logpdf(x, loc, scale)
    integrand = lambda x: np.exp(log_p(x)) * (log_p(x) - stats.laplace.logpdf(x, 0.3, 0.9))
    cusps = sorted((loc, 0.3))
    edges = [cusps[0] - 50 * scale, *cusps, cusps[1] + 50 * scale]
    expected = sum(
        integrate.quad(integrand, a, b, epsabs=0, epsrel=1e-12)[0]
        for a, b in itertools.pairwise(edges)
        if a < b
    )
    arguments = (jnp.array(a) for a in (loc, scale, 0.3, 0.9))
    np.testing.assert_allclose(variant(laplace.kl)(*arguments), expected, rtol=1e-10)


def test_kl_keeps_its_digits_where_p_is_close_to_q():
    """To second order KL = h^2 / 2 for scales 1 + h and 1; the textbook form gives 0 or 1e-7."""
    h = jnp.float32(2.0**-12)
    np.testing.assert_allclose(laplace.kl(0.0, 1 + h, 0.0, 1.0), h**2 / 2, rtol=1e-3)


def test_sample_follows_the_density():
    """Kolmogorov-Smirnov, 20,000 draws; false alarm 1e-4 over keys, the key is fixed."""
    x = laplace.sample(jax.random.key(0), jnp.full(20_000, -1.5), 0.3)
    assert stats.kstest(x, stats.laplace(-1.5, 0.3).cdf).pvalue > 1e-4


def test_sample_is_reparameterized():
    draw = lambda loc, scale: laplace.sample(jax.random.key(1), loc, scale)
    x = draw(2.0, 3.0)
    d_loc, d_scale = jax.grad(draw, argnums=(0, 1))(2.0, 3.0)
    assert d_loc == 1.0
    np.testing.assert_allclose(d_scale, (x - 2.0) / 3.0, rtol=1e-5)


@pytest.mark.parametrize("scale", [0.0, -1.0, jnp.nan])
def test_bad_scale_is_nan(scale):
    for x in (0.0, 1.0):
        assert jnp.isnan(laplace.log_prob(x, 0.0, scale))
    assert jnp.isnan(laplace.entropy(0.0, scale))
    assert jnp.isnan(laplace.sample(jax.random.key(0), 0.0, scale))
    assert jnp.isnan(laplace.kl(0.0, scale, 0.0, 1.0))
    assert jnp.isnan(laplace.kl(0.0, 1.0, 0.0, scale))
    assert jnp.isnan(laplace.kl(0.0, scale, 0.0, scale))


def test_gradient_at_the_cusp_is_zero():
    assert jax.grad(laplace.log_prob)(2.0, 2.0, 3.0) == 0.0


def test_extreme_inputs_are_finite_in_value_and_gradient():
    locations, scales = [-1e6, 0.0, 1e-12, 1e6], [1e-12, 1e-3, 1.0, 1e6]
    arguments = jnp.array(list(itertools.product(locations, locations, scales))).T
    value, gradient = elementwise_value_and_grad(laplace.log_prob, argnums=(0, 1, 2))(*arguments)
    assert jnp.all(jnp.isfinite(jnp.stack([value, *gradient])))

    arguments = jnp.array(list(itertools.product(locations, scales, locations, scales))).T
    value, gradient = elementwise_value_and_grad(laplace.kl, argnums=(0, 1, 2, 3))(*arguments)
    assert jnp.all(jnp.isfinite(jnp.stack([value, *gradient])))


@pytest.mark.usefixtures("x64")
def test_kl_gradient_far_apart_does_not_cancel():
    """d KL / d scale_p = (exp(-a) (1 + a) / scale_q) - 1 / scale_p with a = distance / scale_p."""
    got = jax.grad(laplace.kl, argnums=1)(0.0, 1e-6, 1e6, 2.0)
    np.testing.assert_allclose(got, -1e6, rtol=1e-12)
