import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats

from genmix.densities import von_mises_fisher as vmf

VALUE_AND_GRAD = jax.jit(jax.value_and_grad(vmf.log_prob, argnums=(0, 1, 2)))


def unit_vectors(seed, num, dim):
    x = np.random.default_rng(seed).normal(size=(num, dim))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def mean_length(dim, concentration):
    return special.ive(dim / 2, concentration) / special.ive(dim / 2 - 1, concentration)


def angle_cdf(dim, concentration):
    """CDF of the angle to the mean direction, by the trapezoidal rule on a fine grid."""
    angle = np.linspace(0, np.pi, 200_001)
    density = np.sin(angle) ** (dim - 2) * np.exp(concentration * (np.cos(angle) - 1))
    cdf = integrate.cumulative_trapezoid(density, angle, initial=0)
    return lambda x: np.interp(x, angle, cdf / cdf[-1])


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("dim", "concentration"), [(2, 0.3), (3, 40.0), (5, 2.0), (50, 1e3)])
def test_log_prob_and_entropy_match_scipy(variant, dim, concentration):
    mean_direction, x = unit_vectors(0, 2, dim)
    reference = stats.vonmises_fisher(mean_direction, concentration)
    arguments = jnp.array(mean_direction), jnp.array(concentration)
    got = variant(vmf.log_prob)(jnp.array(x), *arguments)
    np.testing.assert_allclose(got, reference.logpdf(x), rtol=1e-10)
    np.testing.assert_allclose(variant(vmf.entropy)(*arguments), reference.entropy(), rtol=1e-10)


def circle_and_sphere():
    """Points and areas of S^1 and S^2: equal angles, and Gauss-Legendre nodes in one coordinate."""
    angle = np.arange(200) * 2 * np.pi / 200
    yield np.stack([np.cos(angle), np.sin(angle)], axis=1), np.full(200, 2 * np.pi / 200)
    height, weight = np.polynomial.legendre.leggauss(60)
    angle = angle[::2]
    radius = np.sqrt(1 - height**2)[:, None]
    sides = radius * np.cos(angle), radius * np.sin(angle), np.tile(height[:, None], 100)
    area = np.tile(weight[:, None] * 2 * np.pi / 100, 100)
    yield np.stack([side.ravel() for side in sides], axis=1), area.ravel()


@pytest.mark.usefixtures("x64")
def test_integrates_to_one_and_kl_matches_quadrature():
    log_prob = jax.jit(jax.vmap(vmf.log_prob, (0, None, None)))
    kl, kl_to_uniform = jax.jit(vmf.kl), jax.jit(vmf.kl_to_uniform)
    for points, area in circle_and_sphere():
        directions = jnp.array(unit_vectors(1, 2, points.shape[1]))
        p, q = (directions[0], 7.0), (directions[1], 3.0)
        log_p, log_q = (log_prob(points, *parameters) for parameters in (p, q))
        np.testing.assert_allclose(np.sum(area * np.exp(log_p)), 1.0, rtol=1e-10)
        expected = np.sum(area * np.exp(log_p) * (log_p - log_q))
        np.testing.assert_allclose(kl(*p, *q), expected, rtol=1e-10)
        np.testing.assert_allclose(kl(*p, *p), 0.0, atol=1e-12)
        expected = np.sum(area * np.exp(log_p) * (log_p + np.log(area.sum())))
        np.testing.assert_allclose(kl_to_uniform(*p), expected, rtol=1e-10)
        np.testing.assert_allclose(kl(*p, q[0], 0.0), expected, rtol=1e-10)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("dim", [2, 3, 80])
def test_concentration_zero_is_uniform(dim):
    mean_direction, x = unit_vectors(2, 2, dim)
    value, gradient = VALUE_AND_GRAD(x, mean_direction, 0.0)
    np.testing.assert_allclose(value, -vmf.log_area(dim), rtol=1e-12)
    np.testing.assert_allclose(gradient[2], mean_direction @ x, rtol=1e-12)
    divergence = jax.jit(vmf.kl_to_uniform)(mean_direction, 0.0)
    np.testing.assert_allclose(divergence, 0.0, atol=1e-13)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("dim", "concentration"), [(2, 5.0), (4, 300.0), (90, 20.0)])
def test_gradients_along_the_sphere_and_in_the_concentration(dim, concentration):
    mean_direction, x = unit_vectors(3, 2, dim)
    _, gradient = VALUE_AND_GRAD(x, mean_direction, concentration)
    along = lambda at, vector: vector - at * (at @ vector)
    expected = concentration * along(x, mean_direction)
    np.testing.assert_allclose(along(x, gradient[0]), expected, rtol=1e-10, atol=1e-12)
    expected = concentration * along(mean_direction, x)
    np.testing.assert_allclose(along(mean_direction, gradient[1]), expected, rtol=1e-10, atol=1e-12)
    expected = mean_direction @ x - mean_length(dim, concentration)
    np.testing.assert_allclose(gradient[2], expected, rtol=1e-10)
    # Of the entropy, whose derivative is -kappa times that of the mean length.
    slope = jax.jit(jax.grad(vmf.entropy, argnums=1))(mean_direction, concentration)
    mean = mean_length(dim, concentration)
    expected = -concentration * (1 - mean**2 - (dim - 1) * mean / concentration)
    np.testing.assert_allclose(slope, expected, rtol=1e-8)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=3, max_size=3))
def test_off_the_sphere_is_minus_inf_with_zero_gradient(x):
    x = x if abs(sum(v**2 for v in x) - 1) > 1e-3 else [3.0, *x[1:]]
    value, gradient = VALUE_AND_GRAD(jnp.array(x), jnp.array([0.0, 0.6, -0.8]), 2.0)
    assert value == -jnp.inf
    assert all(jnp.all(g == 0) for g in gradient)


def test_bad_parameter_is_nan():
    good, x = jnp.array([0.6, 0.8]), jnp.array([1.0, 0.0])
    log_prob, entropy, kl = jax.jit(vmf.log_prob), jax.jit(vmf.entropy), jax.jit(vmf.kl)
    sample = jax.jit(vmf.sample)
    bad_vectors = jnp.array([[0.6, 0.7], [jnp.nan, 0.8], [0.0, 0.0]])
    for mean_direction, kappa in [(good, -1.0), (good, jnp.nan), *((v, 1.0) for v in bad_vectors)]:
        for point in (x, 2 * x):
            assert jnp.isnan(log_prob(point, mean_direction, kappa))
        assert jnp.isnan(entropy(mean_direction, kappa))
        assert jnp.isnan(kl(mean_direction, kappa, good, 1.0))
        assert jnp.isnan(kl(good, 1.0, mean_direction, kappa))
        assert jnp.all(jnp.isnan(sample(jax.random.key(0), mean_direction, kappa)))
    assert jnp.isnan(log_prob(jnp.array([jnp.nan, 0.0]), good, 1.0))


def test_shapes_must_fit():
    with pytest.raises(ValueError, match=r"x must have shape \(3,\), got \(2,\)"):
        vmf.log_prob(jnp.ones(2), jnp.ones(3), 1.0)
    with pytest.raises(ValueError, match=r"mean_direction_q must have shape \(3,\), got \(1,\)"):
        vmf.kl(jnp.ones(3), 1.0, jnp.ones(1), 1.0)
    with pytest.raises(ValueError, match="mean_direction must have at least 2 entries, got 1"):
        vmf.sample(jax.random.key(0), jnp.ones(1), 1.0)


@pytest.mark.parametrize("dim", [2, pytest.param(400, marks=pytest.mark.slow)])
def test_extreme_concentrations_in_float32(dim):
    """Against float64 at the same inputs, between which float32 has lost nothing."""
    concentration = jnp.array([0.0, 1e-12, 1e-3, 1.0, 1e3, 1e6])
    start, other = unit_vectors(4, 2, dim)
    near = start + other / np.sqrt(1 + concentration[:, None])
    x = jnp.float32(near / np.linalg.norm(near, axis=1, keepdims=True))
    mean_direction = jnp.tile(jnp.float32(start), (6, 1))
    compute = jax.jit(jax.vmap(VALUE_AND_GRAD))
    value, gradient = compute(x, mean_direction, concentration)
    assert all(jnp.all(jnp.isfinite(g)) for g in gradient)
    with jax.enable_x64(True):
        wide = [jnp.float64(np.asarray(v)) for v in (x, mean_direction, concentration)]
        wide[:2] = (v / jnp.linalg.norm(v, axis=1, keepdims=True) for v in wide[:2])
        expected, wide_gradient = compute(*wide)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(gradient[2], wide_gradient[2], rtol=1e-3, atol=1e-6)
    one = lambda c: (vmf.entropy(mean_direction[0], c), vmf.sample(jax.random.key(0), start, c))
    start = mean_direction[0]
    (entropy, draw), slopes = jax.jit(jax.vmap(lambda c: jax.jvp(one, (c,), (1.0,))))(concentration)
    for values in (entropy, draw, *slopes):
        assert jnp.all(jnp.isfinite(values))
    assert jnp.all(jnp.isfinite(jax.vmap(vmf.log_prob)(draw, mean_direction, concentration)))


@pytest.mark.parametrize(
    ("dim", "concentration"),
    [(3, 9.0), *(pytest.param(*case, marks=pytest.mark.slow) for case in [(2, 0.5), (10, 30.0)])],
)
def test_samples_follow_the_density(dim, concentration):
    """KS on the angle, z-tests at 4.9 on the means of x and x x^T; false alarm 1e-4, fixed key."""
    num, mean_direction = 20_000, unit_vectors(5, 1, dim)[0]
    keys = jax.random.split(jax.random.key(dim), num)
    draw = jax.jit(jax.vmap(vmf.sample, (0, None, None)))
    x = np.array(draw(keys, jnp.float32(mean_direction), concentration), np.float64)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), np.ones(num), rtol=1e-5)
    angle = np.arccos(np.clip(x @ mean_direction, -1, 1))
    assert stats.kstest(angle, angle_cdf(dim, concentration)).pvalue > 2e-5
    mean = mean_length(dim, concentration)
    z = (x.mean(axis=0) - mean * mean_direction) / (x.std(axis=0) / np.sqrt(num))
    assert np.abs(z).max() < 4.9
    outer = np.outer(mean_direction, mean_direction)
    across = mean / concentration  # the second moment of x in each direction across the mean
    expected = across * np.eye(dim) + (1 - dim * across) * outer
    products = x[:, :, None] * x[:, None, :]
    z = (products.mean(axis=0) - expected) / (products.std(axis=0) / np.sqrt(num))
    assert np.abs(z).max() < 4.9


@pytest.mark.usefixtures("x64")
def test_sample_at_an_axis_and_near_it():
    """The first axis and its opposite, where a reflection from one of them divides by zero."""
    draw = lambda mean_direction: vmf.sample(jax.random.key(0), mean_direction, 5.0)
    move = lambda m: jax.jvp(draw, (m,), (jnp.array([0.0, 1.0, 0.0]),))
    at_axis = jnp.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    near = jnp.array([[0.0, 1e-7, 0.0]])
    x, slope = jax.jit(jax.vmap(move))(jnp.concatenate([at_axis, at_axis + near]))
    assert jnp.all(jnp.isfinite(x))
    np.testing.assert_allclose((x[2:] - x[:2]) / 1e-7, slope[:2], atol=1e-5)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("dim", "concentration"),
    [(2, 0.7), *(pytest.param(*case, marks=pytest.mark.slow) for case in [(3, 4.0), (10, 30.0)])],
)
def test_gradient_of_sample_in_the_concentration(dim, concentration):
    """Draw by draw -(dF/dkappa) / p for the angle: closed for d = 3, else by finite differences."""
    mean_direction = jnp.array(unit_vectors(6, 1, dim)[0])
    draw = lambda key, kappa: vmf.sample(key, mean_direction, kappa) @ mean_direction
    keys = jax.random.split(jax.random.key(1), 100)
    cos, slope = jax.jit(jax.vmap(jax.value_and_grad(draw, argnums=1), (0, None)))(
        keys, concentration
    )
    nodes, weights = np.polynomial.legendre.leggauss(200)

    def log_cdf_parts(kappa):
        """Integrals of the density over angles above each drawn one, and over all."""
        angle = np.arccos(cos)
        low = np.concatenate([angle, [0.0]])[:, None]
        t = low + (np.pi - low) * (nodes + 1) / 2
        density = np.sin(t) ** (dim - 2) * np.exp(kappa * (np.cos(t) - 1))
        return np.sum(weights * density, axis=1) * (np.pi - low[:, 0]) / 2

    def cdf(kappa):  # of the cosine
        if dim == 3:
            return np.expm1(kappa * (cos + 1)) / np.expm1(2 * kappa)
        parts = log_cdf_parts(kappa)
        return parts[:-1] / parts[-1]

    h = 1e-3 * concentration
    central = lambda h: (cdf(concentration + h) - cdf(concentration - h)) / (2 * h)
    d_cdf = (4 * central(h / 2) - central(h)) / 3
    density = (1 - cos**2) ** ((dim - 3) / 2) * np.exp(concentration * (cos - 1))
    density /= log_cdf_parts(concentration)[-1]
    np.testing.assert_allclose(slope, -d_cdf / density, rtol=1e-6, atol=1e-9)


@pytest.mark.usefixtures("x64")
def test_gradient_of_sample_in_the_mean_direction():
    """E[x] = A mu moves by A v along v: four z-tests at 4.3, false alarm 1e-4, fixed key."""
    mean_direction, other = unit_vectors(7, 2, 4)
    v = other - mean_direction * (mean_direction @ other)
    move = lambda key: jax.jvp(lambda m: vmf.sample(key, m, 3.0), (mean_direction,), (v,))[1]
    slope = jax.jit(jax.vmap(move))(jax.random.split(jax.random.key(2), 10_000))
    z = (slope.mean(axis=0) - mean_length(4, 3.0) * v) / (slope.std(axis=0) / 100)
    assert jnp.max(jnp.abs(z)) < 4.3
