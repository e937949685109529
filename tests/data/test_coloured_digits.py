import numpy as np

from genmix.data import coloured_digits, grey


def test_ink_and_ground_are_the_same_colours_in_every_pixel_but_for_stripes():
    ink = np.zeros((50, 6, 5, 1), np.float32)
    ink[:, 2:4, 1:3] = 1
    x = coloured_digits.coloured(ink, seed=3)
    assert x.shape == (50, 6, 5, 3)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x[:, 2, 1], x[:, 3, 2])
    grounds = x[:, [0, 0, 5], [0, 4, 0]]
    brightest = x[:, ink[0, :, :, 0] == 0].max(axis=1)
    assert np.all(grounds >= 0.75 * brightest[:, None] - 1e-6)
    # One colour is lighter in every channel, and is the ink about every second time:
    # 25 of 50 fair coins within 5 deviations, false alarms of 6e-7; the seed is fixed.
    lighter = x[:, 2, 1] > brightest
    assert np.all(lighter.all(axis=1) | (~lighter).all(axis=1))
    assert abs(lighter[:, 0].sum() - 25) < 5 * np.sqrt(50 / 4)


def test_digits_in_colours_keep_their_labels_and_are_the_same_every_time():
    images = grey.load_images("digits")
    coloured = coloured_digits.of_images(images)
    assert coloured.train.shape == (1437, 8, 8, 3)
    assert coloured.labels is images.labels
    assert 0 <= coloured.train.min() <= coloured.train.max() <= 1
    np.testing.assert_array_equal(coloured.test, coloured_digits.of_images(images).test)
    assert np.any(coloured.train != coloured_digits.of_images(images, seed=1).train)
