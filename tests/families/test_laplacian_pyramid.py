import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix import objectives
from genmix.families import Deterministic, Implicit, LaplacianPyramid, StandardNormal
from genmix.families.implicit.laplacian_pyramid import (
    BOX,
    LINEAR,
    Resampling,
    decompose,
    reconstruct,
)
from genmix.nets import ConvStack, Stacked

WILD = Resampling(lambda x: jnp.sin(3 * BOX.down(x)), lambda x, size: BOX.up(x, size) ** 2)


@pytest.mark.parametrize("resampling", [BOX, LINEAR, WILD])
@pytest.mark.parametrize("shape", [(8, 8, 1), (7, 5, 3), (9, 1, 1)])
def test_reconstruction_is_exact_for_any_pair_and_size(resampling, shape):
    x = jax.random.uniform(jax.random.key(0), shape)
    coarsest, levels = decompose(x, 3, resampling)
    again = reconstruct(coarsest, [level.detail for level in levels], resampling)
    np.testing.assert_allclose(again, x, atol=1e-6)
    assert coarsest.shape[:2] == tuple(-(-side // 8) for side in shape[:2])
    assert [level.detail.shape for level in levels][-1] == shape


def test_details_of_the_box_have_no_mean_in_any_block():
    x = jax.random.uniform(jax.random.key(0), (6, 4, 1))
    coarsest, (level,) = decompose(x, 1)
    np.testing.assert_allclose(BOX.down(level.detail), 0, atol=1e-6)
    np.testing.assert_allclose(coarsest, BOX.down(x), rtol=1e-6)


def pyramid(detail):
    """Of 5x7 images with two levels; the coarsest is always the same."""
    constant = Deterministic(lambda _: jnp.arange(4.0).reshape(2, 2, 1))
    return LaplacianPyramid(constant, [detail, detail], [(3, 4), (5, 7)])


def test_without_details_the_coarsest_image_is_brought_up():
    part = pyramid(Deterministic(jnp.zeros_like))
    images = part.chain(jax.random.key(0))
    expected = BOX.up(BOX.up(images[0], (3, 4)), (5, 7))
    np.testing.assert_array_equal(images[2], expected)
    np.testing.assert_array_equal(part.sample(jax.random.key(0)), expected)


def test_each_level_sees_the_coarse_image_that_it_is_added_to():
    """Details that are twice what they are given: three times the coarse image, at each level."""
    images = pyramid(Deterministic(lambda coarse: 2 * coarse)).chain(jax.random.key(0))
    for below, above in itertools.pairwise(images):
        np.testing.assert_allclose(above, 3 * BOX.up(below, above.shape[:2]))


def test_a_level_is_compared_given_the_real_coarse_image():
    noise = lambda size: StandardNormal((*size, 1))
    net = Stacked(ConvStack(2, (3,), 1, rngs=nnx.Rngs(0)))
    sizes = [(3, 4), (5, 7)]
    coarsest = Deterministic(lambda _: jnp.zeros((2, 2, 1)))
    part = LaplacianPyramid(coarsest, [Implicit(noise(s), net) for s in sizes], sizes)
    x = jax.random.uniform(jax.random.key(0), (5, 7, 1))
    for k, size in enumerate(sizes):
        real, fake = objectives.detail(k).draw(part, jax.random.key(1), x)
        np.testing.assert_array_equal(real[1], fake[1])
        assert real[0].shape == fake[0].shape == (*size, 1)
        finer = x if k else BOX.down(x)
        np.testing.assert_allclose(real[0] + real[1], finer, atol=1e-6)
    images = objectives.coarsest_images(2)(x[None])
    np.testing.assert_allclose(images[0], BOX.down(BOX.down(x)), rtol=1e-6)


def test_what_makes_no_sense_is_refused():
    zero = Deterministic(jnp.zeros_like)
    with pytest.raises(ValueError, match="needs a size for each detail, got 1 details and sizes"):
        LaplacianPyramid(zero, [zero], [])
    with pytest.raises(TypeError, match="cannot be a level of LaplacianPyramid: it has no sample"):
        LaplacianPyramid(zero, [3], [(2, 2)])
    with pytest.raises(ValueError, match="ConvStack needs positive sizes"):
        ConvStack(0, (3,), 1, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="expects one image of 2 channels, got shape"):
        ConvStack(2, (3,), 1, rngs=nnx.Rngs(0))(jnp.zeros((4, 4, 3)))
