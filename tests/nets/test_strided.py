"""Products of patches with kernels are the convolutions that they stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix.nets import strided


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
