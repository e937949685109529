"""What single bijectors promise beyond the table: edges, references, layouts, refusals."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix import bijectors as bij
from genmix.bijectors import affine, householder, planar, radial, sylvester

X = np.array([0.3, -1.2, 0.8])
U, W = np.array([-3.0, 0.4, 2.0]), np.array([1.5, -2.0, 0.2])


def value_and_jacobian_det(f, x):
    y, log_det = f(x)
    return y, log_det, jnp.linalg.det(jax.jacfwd(lambda x: f(x)[0])(x))


def test_planar_is_invertible_whatever_its_parameters(x64):
    """The slope across the plane stays positive where w . u is far below -1."""
    x = jnp.linspace(-4.0, 4.0, 81)
    for strength in (0.0, 1.0, 30.0):
        f = lambda t, s=strength: planar.forward_and_log_det(
            t * W, -s * jnp.asarray(W), jnp.asarray(W), jnp.array(0.1)
        )
        (y, log_det), slopes = jax.vmap(f)(x), jax.vmap(jax.jacfwd(lambda t, f=f: f(t)[0] @ W))(x)
        assert jnp.all(jnp.diff(y @ W) > 0)
        np.testing.assert_allclose(log_det, jnp.log(slopes / (W @ W)), rtol=1e-9, atol=1e-9)


def test_planar_is_the_papers_where_that_is_invertible_anyway(x64):
    # Where w . u is large, u' = u up to a vanishing shift; there the textbook formula holds.
    u = jnp.asarray(20 * W)
    y, log_det = planar.forward_and_log_det(jnp.asarray(X), u, jnp.asarray(W), jnp.array(0.2))
    a = W @ X + 0.2
    wu = W @ u + np.log(np.expm1(1 - 1e-4)) - 1 + 1e-4
    np.testing.assert_allclose(y, X + (u + (wu - W @ u) / (W @ W) * W) * np.tanh(a), rtol=1e-12)
    np.testing.assert_allclose(log_det, np.log(1 + wu * (1 - np.tanh(a) ** 2)), rtol=1e-12)


def test_planar_with_w_zero_is_a_shift_with_finite_gradients():
    f = lambda u, w: planar.forward_and_log_det(jnp.ones(3), u, w, jnp.array(0.5))
    y, log_det = f(jnp.ones(3), jnp.zeros(3))
    np.testing.assert_allclose(y, 1 + np.tanh(0.5), rtol=1e-6)
    assert log_det == 0
    gradients = jax.grad(lambda *args: jnp.sum(f(*args)[0]) + f(*args)[1], (0, 1))
    assert jnp.all(jnp.isfinite(jnp.stack(gradients(jnp.ones(3), jnp.zeros(3)))))
    # On the way there |u'| stays below |u|: along w it tends to (1 - exp(1e-4 - 1)) u.
    small, _ = f(jnp.ones(3), jnp.full(3, 1e-12))
    np.testing.assert_allclose(small, 1 + 0.632084 * np.tanh(0.5), rtol=1e-5)


@pytest.mark.parametrize("size", [1e-30, 1e-19, 4e-12, 1e20])
def test_planar_has_finite_gradients_for_w_of_any_size(size):
    """In units of the size, the gradient in w is the same for all that are small."""
    u, w = jnp.asarray(U, jnp.float32), jnp.asarray(W, jnp.float32)
    y = lambda w: jnp.sum(planar.forward_and_log_det(jnp.ones(3), u, w, jnp.array(0.5))[0])
    gradient = jax.grad(y)(size * w)
    assert jnp.all(jnp.isfinite(gradient))
    if size < 1:
        np.testing.assert_allclose(size * gradient, 1e-3 * jax.grad(y)(1e-3 * w), rtol=0.02)


@pytest.mark.parametrize("beta", [-0.699, 0.0, 40.0])
def test_radial_has_an_inverse_also_at_its_centre(x64, beta):
    centre, alpha = jnp.asarray(U), jnp.array(0.7)
    for x in (X, U, U + 1e-9, 1e6 * X):
        f = lambda x: radial.forward_and_log_det(x, centre, alpha, jnp.array(beta))
        y, log_det, det = value_and_jacobian_det(f, jnp.asarray(x))
        np.testing.assert_allclose(log_det, jnp.log(det), rtol=1e-9, atol=1e-9)
        back, minus = radial.inverse_and_log_det(y, centre, alpha, jnp.array(beta))
        np.testing.assert_allclose(back, x, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(minus, -log_det, rtol=1e-6, atol=1e-6)
    not_invertible = radial.forward_and_log_det(centre, centre, alpha, jnp.array(-0.8))
    assert jnp.isnan(not_invertible[1])


def test_householder_reflects(x64):
    vectors = jnp.asarray(np.stack([U, np.zeros(3), W]))
    matrix = jax.vmap(lambda x: householder.reflect(x, vectors))(jnp.eye(3)).T
    reflection = lambda v: np.eye(3) - 2 * np.outer(v, v) / (v @ v)
    np.testing.assert_allclose(matrix, reflection(W) @ reflection(U), atol=1e-12)
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(3), atol=1e-12)
    gradient = jax.grad(lambda v: jnp.sum(householder.reflect(jnp.asarray(X), v) ** 3))(vectors)
    assert jnp.all(jnp.isfinite(gradient))


@pytest.mark.parametrize("size", [1e-30, 1e-19, 4e-12, 1e19, 1e20])
def test_householder_reflects_at_vectors_of_any_size(size):
    vectors = jnp.asarray(np.stack([U, W]), jnp.float32)
    x = jnp.asarray(X, jnp.float32)
    cubes = lambda v: jnp.sum(householder.reflect(x, v) ** 3)
    np.testing.assert_allclose(
        householder.reflect(x, size * vectors), householder.reflect(x, vectors), rtol=1e-5
    )
    gradient = size * jax.grad(cubes)(size * vectors)
    np.testing.assert_allclose(gradient, jax.grad(cubes)(vectors), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("beta", "distance"), [(1e4, 1.0), (1e7, 1e8)])
def test_radial_finds_distances_in_single_precision(beta, distance):
    """One form of the root of its equation is all rounding where the other is exact."""
    alpha, beta, centre = jnp.array(0.7), jnp.array(beta), jnp.zeros(2)
    y = jnp.array([0.6, -0.8]) * distance
    x, _ = radial.inverse_and_log_det(y, centre, alpha, beta)
    again, _ = radial.forward_and_log_det(x, centre, alpha, beta)
    np.testing.assert_allclose(again, y, rtol=1e-5)


def test_sylvester_with_one_column_is_planar(x64):
    raw_q = jnp.asarray(W)[:, None]
    r, s, b = (jnp.array([value]) for value in (0.8, -0.4, 0.3))
    q = jnp.linalg.qr(raw_q)[0][:, 0]
    y, log_det = sylvester.orthogonal(jnp.asarray(X), raw_q, r[None], s[None], b)
    bounded_r, bounded_s = (1 - 1e-4) * jnp.tanh(r), (1 - 1e-4) * jnp.tanh(s)
    h = jnp.tanh(bounded_s * (q @ X) + b)
    np.testing.assert_allclose(y, X + q * bounded_r * h, rtol=1e-12)
    slope = 1 + bounded_r * bounded_s * (1 - h**2)
    np.testing.assert_allclose(log_det, jnp.log(slope[0]), rtol=1e-10)


def test_convolution_counts_positions_and_starts_as_a_rotation(x64):
    convolution = bij.InvertibleConvolution(3, rngs=nnx.Rngs(0))
    matrix = convolution.matrix
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-6)
    convolution.log_diagonal[...] = jnp.array([0.5, -0.2, 0.4])
    image = jnp.asarray(np.cos(np.arange(24)).reshape(2, 4, 3))
    y, log_det = convolution.forward_and_log_det(image)
    np.testing.assert_allclose(y, np.einsum("ij,hwj->hwi", convolution.matrix, image), atol=1e-6)
    np.testing.assert_allclose(log_det, 8 * jnp.linalg.slogdet(convolution.matrix)[1], rtol=1e-5)
    np.testing.assert_allclose(
        convolution.inverse_matrix @ convolution.matrix, np.eye(3), atol=1e-6
    )


def test_convolution_is_in_full_precision_on_accelerators():
    convolution = bij.InvertibleConvolution(3, rngs=nnx.Rngs(0))
    for apply in (convolution.forward_and_log_det, convolution.inverse_and_log_det):
        equations = jax.make_jaxpr(lambda x, apply=apply: apply(x)[0])(jnp.ones(3)).eqns
        products = [e.params["precision"] for e in equations if e.primitive.name == "dot_general"]
        assert products
        assert all(p == (jax.lax.Precision.HIGHEST,) * 2 for p in products)


def test_squeeze_sorts_pixels_by_the_colours_of_a_checkerboard():
    pixels = jnp.arange(16.0).reshape(4, 4, 1)
    base, log_det = bij.Squeeze().inverse_and_log_det(pixels)
    assert log_det == 0
    np.testing.assert_array_equal(base[0, 0], [0, 5, 1, 4])
    np.testing.assert_array_equal(base[1, 1], [10, 15, 11, 14])
    np.testing.assert_array_equal(bij.Squeeze().forward_and_log_det(base)[0], pixels)


@pytest.mark.parametrize(
    ("ours", "theirs"), [(bij.Sigmoid(), distrax.Sigmoid()), (bij.Tanh(), distrax.Tanh())]
)
def test_bounded_maps_match_distrax(x64, ours, theirs):
    x = jnp.array([-8.0, -1.0, 0.0, 0.4, 5.0])
    y, log_det = ours.forward_and_log_det(x)
    expected, log_slopes = theirs.forward_and_log_det(x)
    np.testing.assert_allclose(y, expected, rtol=1e-12)
    np.testing.assert_allclose(log_det, log_slopes.sum(), rtol=1e-12)
    np.testing.assert_allclose(ours.inverse_and_log_det(y)[0], x, rtol=1e-7, atol=1e-12)


def test_triangular_matches_distrax(x64):
    tril = jnp.array([[0.5, 0, 0], [1.0, 2.0, 0], [-1.0, 0.3, 0.1]])
    theirs = distrax.TriangularLinear(tril)
    y, log_det = affine.triangular_forward_and_log_det(jnp.asarray(X), jnp.zeros(3), tril)
    expected, expected_log_det = theirs.forward_and_log_det(jnp.asarray(X))
    np.testing.assert_allclose(y, expected, rtol=1e-12)
    np.testing.assert_allclose(log_det, expected_log_det, rtol=1e-12)


def test_coupling_matches_distrax(x64):
    network = lambda x: jnp.stack([jnp.sin(x), jnp.cos(3 * x)], axis=-1)
    ours = bij.coupling_layer(network, bij.ShiftScale(bij.exponential_scale), split=2)
    theirs = distrax.SplitCoupling(
        split_index=2,
        event_ndims=1,
        conditioner=network,
        bijector=lambda p: distrax.ScalarAffine(shift=p[..., 0], log_scale=p[..., 1]),
    )
    x = jnp.array([0.3, -1.0, 2.0, 0.7])
    for direction in ("forward_and_log_det", "inverse_and_log_det"):
        for got, want in zip(
            getattr(ours, direction)(x), getattr(theirs, direction)(x), strict=True
        ):
            np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("bijector", [bij.Sigmoid(), bij.Tanh(), bij.Sigmoid(margin=0.1)])
def test_off_the_support_the_log_det_is_minus_infinity_with_zero_gradient(bijector):
    for bad in (-1.5, 1.5, jnp.inf):
        y = jnp.array([0.3, bad])
        x, log_det = bijector.inverse_and_log_det(y)
        assert x[1] == 0
        assert log_det == -jnp.inf
        gradient = jax.grad(lambda y: bijector.inverse_and_log_det(y)[1])(y)
        np.testing.assert_array_equal(gradient, 0)
    x, log_det = bijector.inverse_and_log_det(jnp.array([0.3, jnp.nan]))
    assert jnp.isnan(x[1])
    assert jnp.isnan(log_det)


def test_a_margin_takes_the_edges_in():
    x, log_det = bij.Sigmoid(margin=1e-6).inverse_and_log_det(jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(x, [-13.8155, 13.8155], rtol=2e-2)
    assert jnp.isfinite(log_det)
    x, log_det = bij.Sigmoid().inverse_and_log_det(jnp.array([0.0, 0.5]))
    assert x[0] == 0
    assert log_det == -jnp.inf


@pytest.mark.parametrize("order", [(2, 0, 3, 1), (3, 0, 1, 2), (2, 3, 0, 1), (0, 1, 2, 3)])
def test_a_permutation_takes_entries_in_its_order(order):
    x = jnp.array([[0.1, 0.2, 0.3, 0.4], [1.0, 2.0, 3.0, 4.0]])
    y, _ = bij.Permutation(order).forward_and_log_det(x)
    np.testing.assert_array_equal(y, np.asarray(x)[:, order])
    np.testing.assert_array_equal(bij.Permutation(order).inverse_and_log_det(y)[0], x)


def test_coupling_sees_its_condition():
    network = lambda inputs: jnp.stack([inputs.sum() * jnp.ones(2), jnp.zeros(2)], axis=-1)
    layer = bij.coupling_layer(network, bij.ShiftScale(), split=1, cond_size=2)
    y, _ = layer.forward_and_log_det(jnp.array([1.0, 0.0, 0.5]), jnp.array([10.0, 100.0]))
    np.testing.assert_allclose(y, [1.0, 111.0, 111.5])
    with pytest.raises(ValueError, match=r"coupling needs a cond of shape \(2,\), got \(3,\)"):
        layer.forward_and_log_det(jnp.ones(3), jnp.ones(3))
    with pytest.raises(ValueError, match=r"coupling needs a cond of shape \(2,\), got NoneType"):
        layer.forward_and_log_det(jnp.ones(3))


BAD_EVENTS = [
    (bij.Permutation((1, 0)), jnp.ones(3), r"Permutation of 2 entries .* got shape \(3,\)"),
    *[
        (bijector, jnp.ones(3), rf"{type(bijector).__name__} maps events of shape \(2,\), got \(3,")
        for bijector in (
            bij.Affine(2),
            bij.TriangularAffine(2),
            bij.Planar(2, rngs=nnx.Rngs(0)),
            bij.Radial(2, rngs=nnx.Rngs(0)),
            bij.Householder(2, 1, rngs=nnx.Rngs(0)),
            bij.OrthogonalSylvester(2, 1, rngs=nnx.Rngs(0)),
            bij.HouseholderSylvester(2, 1, rngs=nnx.Rngs(0)),
            bij.TriangularSylvester(2, rngs=nnx.Rngs(0)),
        )
    ],
    (bij.ActNorm(2), jnp.ones((4, 3)), r"ActNorm of 2 channels .* of x, got shape \(4, 3\)"),
    (
        bij.InvertibleConvolution(2, rngs=nnx.Rngs(0)),
        jnp.ones((4, 3)),
        r"InvertibleConvolution of 2 channels .* of x, got shape \(4, 3\)",
    ),
    (bij.Squeeze(), jnp.ones((2, 2, 3)), r"multiple of 4 channels, got shape \(2, 2, 3\)"),
    (
        bij.inverse(bij.Squeeze()),
        jnp.ones((3, 2, 4)),
        r"even height and width, got shape \(3, 2, 4\): pad",
    ),
    (
        bij.coupling_layer(lambda x: x, bij.Shift(), split=3),
        jnp.ones(3),
        r"keeps 3 entries .* more than 3 there, got an event of shape \(3,\)",
    ),
    (
        bij.coupling_layer(lambda x: x, bij.Shift(), split=1),
        jnp.ones(3),
        r"Shift 1 numbers for each of the entries \(2,\), so shape \(2, 1\), got \(1,\)",
    ),
    (
        bij.on_channels(bij.Reverse(), 3),
        jnp.ones(3),
        r"takes 3 channels .* got shape \(3,\)",
    ),
    (
        bij.on_channels(bij.Squeeze(), 4),
        jnp.ones((2, 2, 5)),
        r"keeps the shape of an event, but \(2, 2, 4\) became \(4, 4, 1\)",
    ),
]


@pytest.mark.parametrize(("bijector", "x", "message"), BAD_EVENTS)
def test_events_that_do_not_fit_are_refused(bijector, x, message):
    with pytest.raises(ValueError, match=message):
        bijector.forward_and_log_det(x)
    if isinstance(bijector, (bij.Affine, bij.TriangularAffine, bij.Radial, bij.Householder)):
        with pytest.raises(ValueError, match=message):
            bijector.inverse_and_log_det(x)


def test_functions_refuse_parameters_that_do_not_fit():
    square, vector = jnp.ones((2, 2)), jnp.ones(2)
    with pytest.raises(ValueError, match=r"vectors must have shape \[k, 3\], got \(2, 2\)"):
        householder.reflect(jnp.ones(3), square)
    with pytest.raises(ValueError, match=r"raw_q must have shape \[3, m\] with m <= 3, got \(2, 2"):
        sylvester.orthogonal(jnp.ones(3), square, square, square, vector)
    with pytest.raises(ValueError, match=r"raw_r must have shape \(3, 3\), got \(2, 2\)"):
        sylvester.triangular(jnp.ones(3), square, square, vector)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bij.Permutation((0, 2)), r"0, 1, ..., n - 1 once each, got \(0, 2\)"),
        (lambda: bij.Affine(0), r"shape must be positive, got \(0,\)"),
        (lambda: bij.TriangularAffine(0), "dim must be positive, got 0"),
        (lambda: bij.Planar(0, rngs=nnx.Rngs(0)), "dim must be positive, got 0"),
        (lambda: bij.Radial(0, rngs=nnx.Rngs(0)), "dim must be positive, got 0"),
        (lambda: bij.Householder(2, 0, rngs=nnx.Rngs(0)), "must be positive, got 2 and 0"),
        (lambda: bij.OrthogonalSylvester(2, 3, rngs=nnx.Rngs(0)), "at most dim, got 3 > 2"),
        (lambda: bij.TriangularSylvester(0, rngs=nnx.Rngs(0)), "sizes must be positive"),
        (lambda: bij.ActNorm(0), "num_channels must be positive, got 0"),
        (lambda: bij.InvertibleConvolution(0, rngs=nnx.Rngs(0)), "must be positive, got 0"),
        (lambda: bij.Sigmoid(margin=0.5), "margin must be at least 0 and below 0.5, got 0.5"),
        (lambda: bij.coupling_layer(jnp.sin, bij.Shift(), split=0), "split >= 1 .* got 0 and 0"),
        (lambda: bij.initialize(bij.ActNorm(3), jnp.ones(3)), r"n >= 1, got shape \(3,\)"),
        (lambda: bij.initialize(bij.ActNorm(3), jnp.ones((0, 3))), r"n >= 1, got shape \(0, 3\)"),
        (lambda: bij.on_channels(bij.Reverse(), 0), "num_channels must be positive, got 0"),
        (lambda: bij.multiscale([bij.Reverse()], 0), "channels must be positive, got 0"),
        (lambda: bij.multiscale([], 1), "multiscale needs at least one bijector"),
    ],
)
def test_bijectors_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
