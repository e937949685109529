import jax
import numpy as np
import pytest

from genmix.data import mixtures, sprites
from genmix.evaluation import sample_quality

MIDDLE = np.array([[0, 5, 5, 16, 16], [1, 5, 5, 16, 16], [2, 5, 5, 16, 16]])


def moments(image):
    """Mass, and the centre (x, y) in shares of the side."""
    mass = image.sum()
    place = (np.arange(len(image)) + 0.5) / len(image)
    return mass, (image.sum(axis=0) @ place / mass, image.sum(axis=1) @ place / mass)


def test_places_and_sizes_are_the_factors():
    left_top, right_bottom = np.array([[1, 5, 0, 0, 0], [1, 5, 0, 31, 31]])
    images = sprites.render(np.stack([left_top, right_bottom]), side=64)[..., 0]
    np.testing.assert_allclose(moments(images[0])[1], (0.18, 0.18), atol=0.01)
    np.testing.assert_allclose(moments(images[1])[1], (0.82, 0.82), atol=0.01)
    scales = sprites.render(np.array([[0, i, 0, 16, 16] for i in (0, 5)]), side=64)[..., 0]
    ratio = moments(scales[1])[0] / moments(scales[0])[0]
    np.testing.assert_allclose(ratio, 4.0, rtol=0.05)  # twice as wide and high
    area = (2 * np.sqrt(0.5) * 0.18 * 64) ** 2
    np.testing.assert_allclose(moments(scales[1])[0], area, rtol=0.05)


def test_orientations_turn_the_shape():
    turned = sprites.render(np.array([[1, 5, i, 16, 16] for i in (0, 10, 20)]), side=41)[..., 0]
    np.testing.assert_allclose(turned[0], turned[2], atol=1e-5)  # an ellipse, half a turn on
    wide = lambda image: np.ptp(np.flatnonzero(image.sum(axis=0) > 0.5))
    high = lambda image: np.ptp(np.flatnonzero(image.sum(axis=1) > 0.5))
    assert wide(turned[0]) == high(turned[1]) > 1.5 * high(turned[0])


def test_shapes_differ_and_images_are_whole():
    images = sprites.render(MIDDLE, side=32)
    assert images.shape == (3, 32, 32, 1)
    assert images.dtype == np.float32
    assert images.min() == 0.0
    assert images.max() == 1.0
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(images[i] - images[j]).sum() > 10
    drawn = sprites.draw(3000, side=8, seed=0)
    assert drawn.images.shape == (3000, 8, 8, 1)
    corner, middle = (
        sprites.render(np.array([[i, 5, 5, at, at] for i in range(3)]), side=64).sum((1, 2, 3))
        for at in (0, 16)
    )
    np.testing.assert_allclose(corner, middle, rtol=0.02)  # no more than an edge is cut off
    for k, n in enumerate(sprites.SIZES):
        assert set(drawn.factors[:, k]) == set(range(n))
    np.testing.assert_array_equal(drawn.images[:5], sprites.render(drawn.factors[:5], side=8))


def test_bad_factors_are_refused():
    with pytest.raises(ValueError, match=r"factors must be \[n, 5\], got shape \(3,\)"):
        sprites.render(np.zeros(3, int))
    with pytest.raises(ValueError, match="factors must be indices below"):
        sprites.render(MIDDLE + 30)


def test_mixtures_have_their_modes():
    for name, modes in (("eight-gaussians", 8), ("grid", 25)):
        mixture = mixtures.BY_NAME[name]
        found = sample_quality.modes(
            mixture.draw(jax.random.key(0), 5000), mixture.centres, mixture.scale
        )
        assert found.covered == modes
        # 98.9 % of a round normal lies within three deviations; 5 standard errors of 5,000 draws.
        assert abs(found.high_quality - 0.9889) < 0.0075
