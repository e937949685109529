import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix.nets import resampling, style
from genmix.nets.style.growing import faded, grown

SHAPE, CHANNELS = (7, 5, 3), (4, 3, 2)


@pytest.mark.parametrize("level", [1, 2])
def test_at_fade_0_and_1_the_two_networks_are_equal_bit_for_bit(level):
    network = style.GrowingGenerator(6, CHANNELS, SHAPE, rngs=nnx.Rngs(0))
    z, size = jax.random.normal(jax.random.key(0), (6,)), network.sizes[level]
    smaller, larger = grown(network, level - 1), grown(network, level)
    call = jax.jit(lambda network, z: network(z))
    old = resampling.doubled(call(smaller, z), size)
    np.testing.assert_array_equal(call(faded(larger, 0.0), z), old)
    assert np.any(call(larger, z) != old)
    alone = grown(larger, level)
    np.testing.assert_array_equal(call(faded(larger, 1.0), z), call(alone, z))
    assert call(larger, z).shape == (*size, 3)
    half = call(faded(larger, 0.5), z)
    np.testing.assert_allclose(half, (old + call(larger, z)) / 2, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("level", [1, 2])
def test_so_are_the_critics_on_real_images_that_fade_in_too(level):
    critic = style.GrowingCritic(SHAPE, CHANNELS, rngs=nnx.Rngs(1))
    generator = style.GrowingGenerator(6, CHANNELS, SHAPE, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (*critic.sizes[level], 3))
    call = jax.jit(lambda critic, x: critic(x))
    old = call(grown(critic, level - 1), resampling.halved(x))
    larger, made = grown(critic, level), grown(generator, level)
    np.testing.assert_array_equal(call(faded(larger, 0.0), x), old)
    assert call(larger, x) != old
    np.testing.assert_array_equal(made.real(x), x)
    blurred = resampling.doubled(resampling.halved(x), x.shape[:2])
    np.testing.assert_array_equal(faded(made, 0.0).real(x), blurred)
    np.testing.assert_array_equal(grown(generator, 0).real(x), x)


def test_networks_of_another_level_refuse_what_is_not_theirs():
    critic = grown(style.GrowingCritic(SHAPE, CHANNELS, rngs=nnx.Rngs(1)), 1)
    with pytest.raises(ValueError, match="GrowingCritic at level 1 expects one image of shape"):
        critic(jnp.zeros(SHAPE))
    with pytest.raises(ValueError, match="GrowingGenerator expects one vector of 6 entries"):
        style.GrowingGenerator(6, CHANNELS, SHAPE, rngs=nnx.Rngs(0))(jnp.zeros(5))
