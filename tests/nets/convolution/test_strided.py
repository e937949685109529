"""Products of patches with kernels are the convolutions that they stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix.nets.convolution import strided, winograd


@pytest.mark.parametrize(("size", "channels"), [(3, 2), (4, 2), (5, 2), (3, 32), (4, 32)])
@pytest.mark.parametrize(
    ("ours", "plain"), [(strided.Halving, nnx.Conv), (strided.Doubling, nnx.ConvTranspose)]
)
def test_values_and_gradients_are_those_of_the_convolution(ours, plain, size, channels):
    """Few channels are multiplied at once, many window by window."""
    rngs, out = nnx.Rngs(0), channels + 1
    init = nnx.initializers.normal(1 / channels)
    layer = ours(channels, out, size, kernel_init=init, rngs=rngs)
    reference = plain(channels, out, (size, size), strides=(2, 2), rngs=rngs)
    reference.kernel[...] = layer.kernel[...]
    layer.bias[...] = reference.bias[...] = jnp.linspace(0.0, 1.0, out)
    x = jax.random.normal(jax.random.key(0), (2, 6, 8, channels))

    @jax.jit
    def value_and_slopes(layer, x):
        def loss(layer, x):
            y = jax.vmap(layer)(x)
            return jnp.sum(jnp.sin(y)), y

        (_, y), slopes = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(layer, x)
        return y, slopes[0].kernel[...], slopes[0].bias[...], slopes[1]

    for got, expected in zip(
        value_and_slopes(layer, x), value_and_slopes(reference, x), strict=True
    ):
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_other_devices_convolve():
    x = jax.random.normal(jax.random.key(0), (6, 8, 2))
    kernel = jax.random.normal(jax.random.key(1), (4, 4, 2, 3))
    for a, b in (
        (strided._halve_by_patches, strided._halve_by_convolution),
        (strided._double_by_patches, strided._double_by_convolution),
    ):
        np.testing.assert_allclose(a(x, kernel), b(x, kernel), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [3, 4])
@pytest.mark.parametrize("shape", [(14, 14), (6, 16)])
@pytest.mark.parametrize(
    ("ours", "plain"),
    [
        (strided._halve_by_patches, strided._halve_by_convolution),
        (strided._double_by_patches, strided._double_by_convolution),
    ],
)
def test_tiles_are_exact_twice_differentiated(monkeypatch, ours, plain, shape, size):
    """As gradient penalties do, with one gradient inside vmap; and forward mode."""
    tiles, in_size, out = [], 32, 33
    in_tiles = winograd.convolve
    monkeypatch.setattr(winograd, "convolve", lambda *args: tiles.append(args) or in_tiles(*args))
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), 3)
        x = jax.random.normal(keys[0], (2, *shape, in_size), jnp.float64)
        kernel = jax.random.normal(keys[1], (size, size, in_size, out), jnp.float64) / in_size
        change = jax.random.normal(keys[2], x.shape, jnp.float64)

        def results(convolve):
            score = lambda x, kernel: jnp.sum(jnp.sin(convolve(x, kernel)))
            slopes = jax.vmap(jax.grad(score), in_axes=(0, None))
            penalty = lambda x, kernel: jnp.sum(slopes(x, kernel) ** 2)
            batch = jax.vmap(convolve, in_axes=(0, None))
            forward = jax.jvp(lambda x: batch(x, kernel), (x,), (change,))
            return *forward, convolve(x[0], kernel), *jax.grad(penalty, argnums=(0, 1))(x, kernel)

        got = jax.jit(lambda: results(ours))()
        assert tiles
        for a, b in zip(got, jax.jit(lambda: results(plain))(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


def test_tiles_round_little():
    """A relative error of 1.2e-6 was measured; that of windows is 3e-7."""
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(14, 14, 64)), rng.normal(size=(4, 4, 64, 128))
    with jax.enable_x64(True):
        exact = strided._halve_by_convolution(jnp.asarray(x), jnp.asarray(kernel))
    got = strided._halve_by_patches(jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32))
    assert np.linalg.norm(got - np.asarray(exact)) < 2e-6 * np.linalg.norm(exact)


@pytest.mark.parametrize(
    ("kind", "of_kernel"),
    [("bfloat16", "bfloat16"), ("bfloat16", "float32"), ("float32", "float16")],
)
def test_what_would_be_rounded_takes_no_tiles(kind, of_kernel):
    x, kernels = jnp.ones((15, 15, 64)), jnp.ones((4, 64, 64))
    assert winograd.saves_products(x, kernels)
    assert not winograd.saves_products(x.astype(kind), kernels.astype(of_kernel))


def test_an_empty_batch_stays_empty():
    layer = strided.Halving(32, 32, 4, kernel_init=nnx.initializers.normal(), rngs=nnx.Rngs(0))
    assert jax.vmap(layer)(jnp.zeros((0, 14, 14, 32))).shape == (0, 7, 7, 32)
