import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix.nets import InstanceNorm, ResidualTranslator
from genmix.nets.instance_norm import instance_normalized


@pytest.mark.parametrize(("shape", "out"), [((7, 9, 3), 1), ((8, 8, 1), None)])
def test_odd_sides_and_colours(shape, out):
    net = ResidualTranslator(shape, (4, 6, 8), num_blocks=1, out_channels=out, rngs=nnx.Rngs(0))
    y = jax.eval_shape(net, jnp.zeros(shape))
    assert y.shape == (*shape[:2], out or shape[-1])


def test_channels_are_normalized_by_their_own_pixels():
    x = jax.random.normal(jax.random.key(0), (5, 6, 3)) * jnp.array([[[1.0, 10.0, 0.0]]]) + 4
    y = np.asarray(instance_normalized(x))
    np.testing.assert_allclose(y.mean((0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std((0, 1)), [1, 1, 0], atol=1e-4)
    layer = InstanceNorm(3)
    layer.scale[...], layer.shift[...] = jnp.full(3, 2.0), jnp.full(3, -1.0)
    np.testing.assert_allclose(layer(x), 2 * y - 1, rtol=1e-6)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match=r"needs images .height, width, channels. and positive"):
        ResidualTranslator((8, 8), (4,), rngs=nnx.Rngs(0))
    net = ResidualTranslator((8, 8, 1), (4,), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="expects one image of shape"):
        net(jnp.zeros((8, 8, 3)))
