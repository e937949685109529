import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genmix.divergences import gradient_penalty

KEY = lambda: jax.random.key(0)
REAL = jax.random.normal(jax.random.key(1), (6, 2, 2))
FAKE = jax.random.normal(jax.random.key(2), (6, 2, 2)) + 3


def slope(w):
    return lambda x: jnp.sum(w * x)


def test_of_a_linear_critic():
    """The gradient is w everywhere: norm 2, over all entries of an event."""
    critic = slope(jnp.ones((2, 2)))
    np.testing.assert_allclose(gradient_penalty.wgan_gp(KEY(), critic, REAL, FAKE), 1.0, rtol=1e-6)
    np.testing.assert_allclose(gradient_penalty.r1(critic, REAL), 2.0, rtol=1e-6)


@pytest.mark.parametrize(("height", "expected"), [(0.25, 0.0), (0.5, 0.0), (1.0, 1.0)])
def test_slopes_below_one_cost_nothing(height, expected):
    critic = slope(jnp.full((2, 2), height))
    value = gradient_penalty.wgan_lp(KEY(), critic, REAL, FAKE)
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_norms_are_of_each_event():
    """Half |x|^2 has the gradient x: r1 is half the mean of |x|^2."""
    critic = lambda x: 0.5 * jnp.sum(x**2)
    expected = 0.5 * np.mean(np.sum(np.asarray(REAL) ** 2, axis=(1, 2)))
    np.testing.assert_allclose(gradient_penalty.r1(critic, REAL), expected, rtol=1e-5)


def test_of_pairs():
    pairs = (REAL, jnp.ones((6, 3)))
    critic = lambda pair: 3 * pair[0][0, 0] + 4 * pair[1][2]
    np.testing.assert_allclose(gradient_penalty.squared_norms(critic, pairs), 25.0)
    others = (FAKE, jnp.zeros((6, 3)))
    np.testing.assert_allclose(gradient_penalty.wgan_gp(KEY(), critic, pairs, others), 16.0)


def test_points_lie_between_each_at_its_own_place():
    pairs = {"a": REAL, "b": jnp.zeros(6)}
    others = {"a": FAKE, "b": jnp.ones(6)}
    points = gradient_penalty.between(KEY(), pairs, others)
    place = points["b"]
    assert len(np.unique(place)) == 6
    assert jnp.all((place > 0) & (place < 1))
    w = place[:, None, None]
    np.testing.assert_allclose(points["a"], (1 - w) * REAL + w * FAKE, rtol=1e-5)


@pytest.mark.parametrize(
    ("penalty", "expected"), [(gradient_penalty.wgan_gp, 1.0), (gradient_penalty.wgan_lp, 0.0)]
)
def test_a_flat_critic_has_a_finite_gradient(penalty, expected):
    f = lambda w: penalty(KEY(), slope(w), REAL, FAKE)
    value, gradient = jax.value_and_grad(f)(jnp.zeros((2, 2)))
    assert value == expected
    assert jnp.all(jnp.isfinite(gradient))


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match="real and fake must have the same shapes, got"):
        gradient_penalty.wgan_gp(KEY(), slope(jnp.ones((2, 2))), REAL, FAKE[:3])
