"""The rational-quadratic spline, against distrax and at the edges of its domain."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genmix.bijectors import RationalQuadratic, rational_quadratic

SPLINE = RationalQuadratic(num_bins=5, bound=2.5, min_size=1e-3, min_slope=1e-3)


def parameters(scale=1.0, size=14):
    return jnp.asarray(scale * np.sin(np.arange(size) * 1.9 + 0.3))


def test_matches_distrax(x64):
    x = jnp.linspace(-4.0, 4.0, 41)
    widths, heights, slopes = jnp.split(parameters(), [5, 10])
    slopes = jnp.pad(slopes, 1)
    theirs = distrax.RationalQuadraticSpline(
        jnp.concatenate([widths, heights, slopes]),
        range_min=-2.5,
        range_max=2.5,
        boundary_slopes="identity",
        min_bin_size=5e-3,
        min_knot_slope=1e-3,
    )
    each = jnp.broadcast_to(parameters(), (41, 14))
    y, log_slope = SPLINE.forward_and_log_slope(x, each)
    expected, expected_log_slope = jax.vmap(theirs.forward_and_log_det)(x)
    np.testing.assert_allclose(y, expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(log_slope, expected_log_slope, rtol=1e-10, atol=1e-10)
    back, minus = SPLINE.inverse_and_log_slope(y, each)
    np.testing.assert_allclose(back, x, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(minus, -log_slope, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("direction", ["forward_and_log_slope", "inverse_and_log_slope"])
def test_finite_with_finite_gradients_everywhere(direction):
    """At knots, ends, far outside, and for parameters that make bins and slopes extreme."""
    f = getattr(SPLINE, direction)

    @jax.jit
    def run(raw):
        knots_x, knots_y, _ = SPLINE.knots(raw)
        x = jnp.concatenate([knots_x, knots_y, jnp.array([-2.6, 2.6, -1e30, 1e30, 0.0])])
        each = jnp.broadcast_to(raw, (x.size, raw.size))
        values = f(x, each)
        gradient = jax.grad(lambda x, p: jnp.sum(f(x, p)[0] / 1e30 + f(x, p)[1]), (0, 1))
        return values, gradient(x, each)

    for scale in (1.0, 50.0, 1e4):
        for leaf in jax.tree.leaves(run(parameters(scale).astype(jnp.float32))):
            assert jnp.all(jnp.isfinite(leaf)), scale


@pytest.mark.parametrize("direction", ["forward_and_log_slope", "inverse_and_log_slope"])
def test_next_to_knots_the_derivative_is_the_slope(direction):
    """There rounding leads out of a bin, where steep splines have no logarithm of a slope."""

    @jax.jit
    def run(x, raw):
        f = lambda x: getattr(SPLINE, direction)(x, raw)
        return *f(x), jax.jvp(f, (x,), (jnp.ones_like(x),))[1][0]

    for scale in (1.0, 8.0):
        shifts = np.arange(6)[:, None]
        raw = jnp.asarray(scale * np.sin(np.arange(14) * 1.9 + 0.3 + shifts), jnp.float32)
        knots = np.asarray(SPLINE.knots(raw)[direction.startswith("inverse")][:, 1:-1])
        x = [knots]
        for towards in (-3, 3):
            beside = knots
            for _ in range(4):
                beside = np.nextafter(beside, np.float32(towards))
                x.append(beside)
        x = jnp.asarray(np.concatenate(x, axis=1))
        y, log_slope, slope = run(x, jnp.broadcast_to(raw[:, None], (*x.shape, 14)))
        assert jnp.all(jnp.isfinite(y) & jnp.isfinite(log_slope))
        np.testing.assert_allclose(slope, jnp.exp(log_slope), rtol=0.05)


def test_the_inverse_undoes_a_change_of_the_parameters_too(x64):
    x, raw = jnp.linspace(-2.4, 2.4, 9), jnp.broadcast_to(parameters(2.0), (9, 14))
    back = lambda raw: SPLINE.inverse_and_log_slope(SPLINE.forward_and_log_slope(x, raw)[0], raw)
    log_slope = lambda raw: SPLINE.forward_and_log_slope(x, raw)[1]
    change = jnp.cos(3 * raw)
    moved, minus = jax.jvp(back, (raw,), (change,))[1]
    np.testing.assert_allclose(moved, 0, atol=1e-12)
    np.testing.assert_allclose(minus, -jax.jvp(log_slope, (raw,), (change,))[1], rtol=1e-9)


def test_tails_go_on_with_the_slope_of_the_outermost_knots(x64):
    knots_x, knots_y = jnp.array([-1.0, 0.5, 2.0]), jnp.array([0.0, 2.0, 3.0])
    slopes = jnp.array([0.5, 1.0, 3.0])
    for x, y, slope in [(-3.0, -1.0, 0.5), (-1.0, 0.0, 0.5), (2.0, 3.0, 3.0), (4.0, 9.0, 3.0)]:
        got = rational_quadratic.forward_and_log_slope(jnp.array(x), knots_x, knots_y, slopes)
        np.testing.assert_allclose(got, [y, np.log(slope)], rtol=1e-12)
        back = rational_quadratic.inverse_and_log_slope(jnp.array(y), knots_x, knots_y, slopes)
        np.testing.assert_allclose(back, [x, -np.log(slope)], rtol=1e-12)


def test_monotone_and_invertible_with_extreme_parameters():
    x = jnp.linspace(-2.5, 2.5, 1001)
    each = jnp.broadcast_to(parameters(8.0).astype(jnp.float32), (1001, 14))
    y, _ = SPLINE.forward_and_log_slope(x, each)
    assert jnp.all(jnp.diff(y) > -1e-6)
    back, _ = SPLINE.inverse_and_log_slope(y, each)
    again, _ = SPLINE.forward_and_log_slope(back, each)
    np.testing.assert_allclose(again, y, atol=2e-4)


@pytest.mark.parametrize("num_bins", [1, 5])
@pytest.mark.parametrize("direction", ["forward_and_log_slope", "inverse_and_log_slope"])
def test_it_is_the_spline_through_its_knots_with_its_gradients(x64, direction, num_bins):
    """The derivatives are said outright there, and automatic for given knots; both ways."""
    spline = RationalQuadratic(num_bins=num_bins, bound=2.5)
    x = jnp.linspace(-3.1, 3.2, 12)
    raw = jnp.asarray(2 * np.sin(np.arange(12 * (3 * num_bins - 1)) * 1.7).reshape(12, -1))
    general = getattr(rational_quadratic, direction)
    by_knots = lambda x, raw: general(x, *spline.knots(raw))

    def values_and_derivatives(f, x, raw):
        weighted = lambda x, raw: sum(jnp.vdot(jnp.cos(x + i), a) for i, a in enumerate(f(x, raw)))
        forward = jax.jvp(f, (x, raw), (jnp.sin(3 * x), jnp.cos(2 * raw)))
        return forward, jax.grad(weighted, (0, 1))(x, raw)

    run = jax.jit(values_and_derivatives, static_argnums=0)
    got, want = run(getattr(spline, direction), x, raw), run(by_knots, x, raw)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_bins": 0}, "num_bins >= 1 and bound > 0, got 0"),
        ({"bound": -1.0}, "bound > 0, got 8 and -1.0"),
        ({"min_size": 0.2}, "min_size < 1 / num_bins .* got min_size 0.2, num_bins 8"),
        ({"min_slope": 0.0}, "0 < min_slope < 1, got .* min_slope 0.0"),
    ],
)
def test_splines_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RationalQuadratic(**options)
