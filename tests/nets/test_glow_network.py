import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix.nets import GlowNetwork, state


def test_it_starts_at_zero_and_sees_the_neighbours():
    network = GlowNetwork(2, 8, (3, 2), rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(7, 7, 2)), jnp.float32)

    @jax.jit
    def slope_at_the_centre(out_kernel):
        moved = state.with_variables(network, {"out.kernel": out_kernel})
        return jax.grad(lambda x: moved(x)[3, 3].sum())(x)

    kernel = network.out.kernel[...]
    np.testing.assert_array_equal(kernel, 0)
    assert network(x).shape == (7, 7, 3, 2)
    seen = np.any(slope_at_the_centre(kernel + 1) != 0, axis=-1)
    expected = np.zeros((7, 7), bool)
    expected[1:6, 1:6] = True
    np.testing.assert_array_equal(seen, expected)


def test_it_is_three_convolutions_whose_outputs_are_parameter_by_parameter():
    network = GlowNetwork(2, 8, (3, 2), rngs=nnx.Rngs(0))
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    values = {"out.kernel": draw(3, 3, 8, 6), "first.bias": draw(8), "out.bias": draw(6)}
    network = state.with_variables(network, values)
    x = draw(5, 4, 2)

    @jax.jit
    def both(network, x):
        def convolve(x, kernel, bias):
            layout = ("NHWC", "HWIO", "NHWC")
            y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)
            return y + bias.reshape(1, 1, 1, -1)

        middle = network.middle.kernel[...][None, None], network.middle.bias[...]
        h = jax.nn.relu(convolve(x[None], network.first.kernel[...], network.first.bias[...]))
        out = convolve(
            jax.nn.relu(convolve(h, *middle)), network.out.kernel[...], network.out.bias[...]
        )[0]
        return network(x), jnp.stack([out[..., :3], out[..., 3:]], axis=-1)

    got, expected = both(network, x)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_sizes_must_be_positive():
    with pytest.raises(ValueError, match="GlowNetwork needs positive sizes, got in_channels 0"):
        GlowNetwork(0, 8, (1, 2), rngs=nnx.Rngs(0))
