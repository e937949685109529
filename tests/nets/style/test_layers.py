"""Equalized and modulated layers, AdaIN, norms: what the papers say of each, exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from genmix.divergences import gradient_penalty
from genmix.nets import style
from genmix.nets.style import modulated_convolution as modulated
from genmix.nets.style.growing import grown

KEY = lambda i=0: jax.random.key(i)


def test_fused_and_unfused_are_the_same_convolution(x64):
    x = jax.random.normal(KEY(0), (5, 4, 3))
    kernel, scales = jax.random.normal(KEY(1), (3, 3, 3, 6)), jax.random.normal(KEY(2), (3,))
    fused = modulated.fused(x, kernel, scales)
    np.testing.assert_allclose(modulated.unfused(x, kernel, scales), fused, rtol=1e-12)
    norms = jnp.sum(modulated.demodulated(kernel, scales) ** 2, axis=(0, 1, 2))
    np.testing.assert_allclose(norms, 1, rtol=1e-6)


def test_an_equalized_rate_is_adam_at_the_scaled_rate(x64):
    """Three steps of Adam with epsilon 0 on W at rate h, and on the weights in use at rate h c."""
    layer = style.EqualizedLinear(4, 3, gain=2**0.5, rate=0.1, rngs=nnx.Rngs(0))
    x, target = jax.random.normal(KEY(1), (8, 4)), jax.random.normal(KEY(2), (8, 3))
    loss = lambda weights: jnp.mean((jnp.tanh(x @ weights) - target) ** 2)
    kernel = layer.kernel[...].astype(jnp.float64)
    c = layer.factor
    assert c == pytest.approx(0.1 * 2**0.5 / 2)

    def trained(weights, rate, scale):
        adam = optax.adam(rate, eps=0.0)
        moments = adam.init(weights)
        for _ in range(3):
            slope = jax.grad(lambda w: loss(scale * w))(weights)
            update, moments = adam.update(slope, moments)
            weights = weights + update
        return scale * weights

    scaled = trained(kernel, 1e-2, c)
    np.testing.assert_allclose(scaled, trained(c * kernel, c * 1e-2, 1.0), rtol=1e-10)
    assert np.abs(scaled - c * kernel).max() > 1e-3


def test_equalized_layers_keep_the_scale_whatever_their_rate():
    """Of 400 outputs, variance 1 within 5 standard errors: false alarms of 6e-7."""
    x = jax.random.normal(KEY(0), (50,))
    for rate in (1.0, 0.01):
        layer = style.EqualizedLinear(50, 400, rate=rate, bias=3.0, rngs=nnx.Rngs(0))
        y = np.asarray(layer(x)) - 3
        expected = float(jnp.mean(x**2))
        assert abs(np.mean(y**2) - expected) < 5 * expected * np.sqrt(2 / 400)
    conv = style.EqualizedConvolution(2, 3, 3, rngs=nnx.Rngs(0))
    assert conv(jnp.ones((5, 4, 2))).shape == (5, 4, 3)


def test_adain_gives_the_style_its_mean_and_deviation():
    x = 5 + 3 * jax.random.normal(KEY(0), (8, 8, 2))
    y = np.asarray(style.adain(x, jnp.array([2.0, 0.5]), jnp.array([-1.0, 4.0])))
    np.testing.assert_allclose(y.mean((0, 1)), [-1, 4], rtol=1e-5)
    np.testing.assert_allclose(y.std((0, 1)), [2, 0.5], rtol=1e-4)


def test_pixels_are_of_norm_one_and_zeros_stay():
    x = jax.random.normal(KEY(0), (3, 2, 5)).at[0, 0].set(0.0)
    squares = np.mean(np.asarray(style.pixel_normalized(x)) ** 2, axis=-1)
    np.testing.assert_allclose(squares, [[0, 1], [1, 1], [1, 1]], rtol=1e-5)


def test_the_deviation_is_that_of_groups_of_the_batch():
    layer, x = style.MinibatchDeviation(2), jnp.arange(4.0)[:, None, None, None]
    x = jnp.broadcast_to(x**2, (4, 2, 2, 3))  # 0, 1, 4, 9: groups (0, 4) and (1, 9)
    y = jax.vmap(layer, axis_name="batch")(x)
    np.testing.assert_allclose(y[:, 0, 0, -1], [2, 4, 2, 4], rtol=1e-5)
    np.testing.assert_array_equal(y[..., :-1], x)
    whole = jax.vmap(style.MinibatchDeviation(3), axis_name="batch")(x)
    np.testing.assert_allclose(whole[:, 0, 0, -1], np.std([0, 1, 4, 9]), rtol=1e-5)
    np.testing.assert_allclose(layer(x[0])[..., -1], 1e-4, rtol=1e-4)


def test_a_penalty_sees_the_critic_look_at_its_batch():
    """The gradient of the sum of all scores, as the authors' code has it."""
    deviation = style.MinibatchDeviation(2)
    critic = lambda x: jnp.sum(deviation(x)[..., -1]) + jnp.sum(x)
    x = jnp.array([1.0, 3.0]).reshape(2, 1, 1, 1)
    # Each score has |x0 - x1| / 2: the sum's slopes are 1 - 1 and 1 + 1.
    np.testing.assert_allclose(gradient_penalty.squared_norms(critic, x), [0, 4], atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda r: style.EqualizedLinear(0, 1, rngs=r), "EqualizedLinear needs positive sizes"),
        (lambda r: style.EqualizedConvolution(1, 1, 2, rngs=r), "and an odd kernel, got 1, 1, 2"),
        (lambda r: style.ModulatedConvolution(1, 1, 2, 3, rngs=r), "and an odd kernel"),
        (lambda r: style.MinibatchDeviation(0), "group_size must be at least 1, got 0"),
        (lambda r: style.Mapping(2, 3, num_layers=0, rngs=r), "num_layers must be at least 1"),
        (lambda r: style.Synthesis(2, (), (4, 4, 1), rngs=r), "Synthesis needs images"),
        (lambda r: style.GrowingCritic((4, 4), (2,), rngs=r), "GrowingCritic needs images"),
        (
            lambda r: grown(style.GrowingCritic((4, 4, 1), (2, 2), rngs=r), 2),
            "level must be between 0 and 1, got 2",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(nnx.Rngs(0))
