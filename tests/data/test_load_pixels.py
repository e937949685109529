"""Grey levels: the images that the binary sets were drawn from, in the same splits."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

from genmix import data
from genmix.data.grey import load_images


def test_digits_are_whole_levels_in_the_splits_of_the_binary_set():
    levels, binary = data.load("digits", pixels="levels"), data.load("digits")
    np.testing.assert_array_equal(levels.train / 16, binary.train)
    published, labels = load_digits(return_X_y=True)
    np.testing.assert_array_equal(levels.test.reshape(360, 64), published[1437:])
    np.testing.assert_array_equal(levels.test_labels, labels[1437:])
    assert levels.train.dtype == levels.test.dtype == np.float32
    assert (levels.num_levels, levels.binarization) == (17, "none")
    assert levels.valid.shape == (0, 8, 8, 1)
    # A pixel that is 0 or 16 is the same in both.
    certain = (levels.test == 0) | (levels.test == 16)
    np.testing.assert_array_equal(levels.test[certain] / 16, binary.test[certain])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_mnist_levels(data_dir, name):
    levels, binary = data.load(name, data_dir, "levels"), data.load(name, data_dir)
    np.testing.assert_array_equal(levels.train / np.float32(255), binary.train)
    for split in ("valid", "test"):
        grey, bits = getattr(levels, split), getattr(binary, split)
        assert grey.shape == bits.shape
        np.testing.assert_array_equal(bits[grey == 0], 0)
        np.testing.assert_array_equal(bits[grey == 255], 1)
        assert np.any(bits[(grey > 0) & (grey < 255)] == 1)
    assert (levels.num_levels, levels.binarization) == (256, "none")


def test_frey_faces_are_grey_already(data_dir):
    levels = data.load("frey-faces", data_dir, "levels")
    assert levels.num_levels == 256
    np.testing.assert_array_equal(levels.test, data.load("frey-faces", data_dir).test)


def test_the_unit_interval_is_levels_over_the_highest():
    levels, unit = (data.load("digits", pixels=pixels) for pixels in ("levels", "unit"))
    np.testing.assert_array_equal(unit.test, levels.test / 16)
    assert (unit.num_levels, unit.is_unit) == (17, True)
    np.testing.assert_array_equal(
        unit.to_image(jnp.asarray(unit.test)), levels.to_image(jnp.asarray(levels.test))
    )
    bits = data.load("digits")
    np.testing.assert_array_equal(data.in_bits(levels).test, bits.test)
    np.testing.assert_array_equal(bits.to_image(jnp.asarray(bits.test)), bits.test)


def test_what_has_no_grey_levels_is_refused(data_dir):
    for pixels in ("levels", "unit"):
        with pytest.raises(ValueError, match="no grey levels of 'caltech-silhouettes'"):
            data.load("caltech-silhouettes", data_dir, pixels)
    with pytest.raises(ValueError, match="pass the folder that holds mnist/ as data_dir"):
        data.load("mnist", pixels="levels")
    with pytest.raises(ValueError, match="pixels must be bits, levels or unit, got 'grey'"):
        data.load("digits", pixels="grey")


def test_images_are_limited_evenly():
    whole, few = load_images("digits"), load_images("digits", limit=10)
    np.testing.assert_array_equal(few.train, whole.train)
    np.testing.assert_array_equal(few.test, whole.test[::36])
    np.testing.assert_array_equal(few.labels[1], whole.labels[1][::36])
