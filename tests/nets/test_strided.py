"""Products of patches with kernels are the convolutions that they stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix.nets import strided

INIT = nnx.initializers.normal(1.0)


@pytest.mark.parametrize("size", [3, 4, 5])
@pytest.mark.parametrize(
    ("ours", "plain"), [(strided.Halving, nnx.Conv), (strided.Doubling, nnx.ConvTranspose)]
)
def test_values_and_gradients_are_those_of_the_convolution(ours, plain, size):
    rngs = nnx.Rngs(0)
    layer = ours(2, 3, size, kernel_init=INIT, rngs=rngs)
    reference = plain(2, 3, (size, size), strides=(2, 2), rngs=rngs)
    reference.kernel[...] = layer.kernel[...]
    layer.bias[...] = reference.bias[...] = jnp.arange(3.0)
    x = jax.random.normal(jax.random.key(0), (2, 6, 8, 2))

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
