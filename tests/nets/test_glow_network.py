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


def test_sizes_must_be_positive():
    with pytest.raises(ValueError, match="GlowNetwork needs positive sizes, got in_channels 0"):
        GlowNetwork(0, 8, (1, 2), rngs=nnx.Rngs(0))
