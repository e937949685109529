import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genmix.divergences import mmd


def expected_rbf(bandwidth, loc_gap, scale_a, scale_b, dim):
    """E k(a, b) for independent a, b of normal distributions with scales times the identity."""
    g2, spread = bandwidth**2, scale_a**2 + scale_b**2
    distance = dim * loc_gap**2
    return (g2 / (g2 + spread)) ** (dim / 2) * math.exp(-distance / (2 * (g2 + spread)))


@pytest.mark.parametrize("bandwidths", [(1.0,), (0.5, 3.0)])
def test_expectations_over_small_samples_of_normals(x64, bandwidths):
    """Mean over 40,000 samples: within 4 standard errors, false alarm 1e-4.

    The V-statistic is too large by a known amount, the kernel of an event with itself.
    """
    n, m, dim, gap, scale = 3, 5, 2, 0.8, 1.5

    def one(key):
        x_key, y_key = jax.random.split(key)
        x = jax.random.normal(x_key, (n, dim), jnp.float64)
        y = gap + scale * jax.random.normal(y_key, (m, dim), jnp.float64)
        kernel = mmd.rbf(*bandwidths)
        return mmd.unbiased(x, y, kernel), mmd.biased(x, y, kernel)

    unbiased, biased = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 40_000))
    total = lambda gap, a, b: sum(expected_rbf(w, gap, a, b, dim) for w in bandwidths)
    xx, yy, xy = total(0.0, 1.0, 1.0), total(0.0, scale, scale), total(gap, 1.0, scale)
    exact = xx + yy - 2 * xy
    excess = (len(bandwidths) - xx) / n + (len(bandwidths) - yy) / m
    for values, expected in ((unbiased, exact), (biased, exact + excess)):
        z = (jnp.mean(values) - expected) / (jnp.std(values) / 200)
        assert abs(z) < 4
    assert jnp.min(unbiased) < 0 < jnp.min(biased)


def test_inverse_multiquadratics_by_loops(variant):
    x = np.random.default_rng(0).normal(size=(3, 2, 2))
    y = np.random.default_rng(1).normal(size=(4, 2, 2))
    k = lambda a, b: sum(c / (c + np.sum((a - b) ** 2)) for c in (0.7, 4.0))
    mean = lambda u, v: np.mean([[k(a, b) for b in v] for a in u])
    off = lambda u: np.mean([k(a, b) for i, a in enumerate(u) for b in np.delete(u, i, axis=0)])
    kernel = mmd.imq(0.7, 4.0)
    got = variant(lambda x, y: (mmd.unbiased(x, y, kernel), mmd.biased(x, y, kernel)))(
        jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)
    )
    np.testing.assert_allclose(got[0], off(x) + off(y) - 2 * mean(x, y), atol=1e-6)
    np.testing.assert_allclose(got[1], mean(x, x) + mean(y, y) - 2 * mean(x, y), atol=1e-6)


def test_scales_for_unit_variance():
    at = mmd.imq_for_unit_variance(5)(jnp.full((1, 1), 10.0))
    np.testing.assert_allclose(
        at[0, 0], sum(s / (1 + s) for s in (0.1, 0.2, 0.5, 1, 2, 5, 10)), rtol=1e-6
    )


@pytest.mark.parametrize("kernel", [mmd.rbf(0.01), mmd.imq(1.0)])
def test_gradients_are_finite_for_equal_and_for_distant_events(kernel):
    x = jnp.array([[0.0, 0.0], [0.0, 0.0], [1e30, -1e30]])
    for statistic in (mmd.unbiased, mmd.biased):
        value, gradient = jax.value_and_grad(statistic)(x, x[:2], kernel)
        assert jnp.isfinite(value)
        assert jnp.all(jnp.isfinite(gradient))


def test_far_from_the_origin_nothing_cancels():
    x = jax.random.normal(jax.random.key(0), (20, 3))
    y = jax.random.normal(jax.random.key(1), (20, 3)) + 1
    near = mmd.unbiased(x, y, mmd.rbf(1.0))
    far = mmd.unbiased(x + 1000, y + 1000, mmd.rbf(1.0))
    np.testing.assert_allclose(far, near, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mmd.rbf(), "bandwidths must be positive numbers, at least one, got"),
        (lambda: mmd.rbf(1.0, 0.0), r"bandwidths must be .* got \(1.0, 0.0\)"),
        (lambda: mmd.imq(-1.0), "constants must be positive numbers"),
        (lambda: mmd.imq(math.nan), "constants must be positive numbers"),
        (
            lambda: mmd.unbiased(jnp.zeros((1, 2)), jnp.zeros((3, 2)), mmd.rbf(1.0)),
            "needs two events of each kind, got 1 and 3",
        ),
        (
            lambda: mmd.biased(jnp.zeros((2, 2)), jnp.zeros((3, 4)), mmd.rbf(1.0)),
            r"one shape, got \(2,\) and \(4,\)",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("scale", [1e19, 1e30, 1.5e38])
@pytest.mark.parametrize("kernel", [mmd.rbf(1.0, 2.0), mmd.imq(1.0, 2.0)], ids=["rbf", "imq"])
def test_events_so_far_that_squares_overflow_have_no_gradient(scale, kernel):
    """The limit: a kernel of 0 between different events, so 2 * 2 / 3 for three events each."""
    x = scale * jnp.array([[0.5, 1.0], [1.0, 0.2], [-0.3, -1.0]])
    value, gradient = jax.value_and_grad(lambda x: mmd.biased(x, -x, kernel))(x)
    np.testing.assert_allclose(value, 4 / 3, rtol=1e-6)
    np.testing.assert_array_equal(gradient, 0.0)
    near = x[:2] / scale
    value, gradient = jax.value_and_grad(lambda x: mmd.unbiased(x, near, kernel))(x)
    assert np.isfinite(value)
    np.testing.assert_array_equal(gradient, 0.0)
    assert np.isnan(mmd.biased(x.at[0, 0].set(jnp.inf), -x, kernel)), (
        "an infinite event is no limit"
    )
