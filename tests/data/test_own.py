"""Pictures in a folder and arrays in an archive are data sets, and what they lack is said."""

import numpy as np
import pytest
from PIL import Image

from genmix import data

RNG = np.random.default_rng(0)


def _save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def _colours(shape=(5, 6, 3)):
    return RNG.integers(256, size=shape, dtype=np.uint8)


def test_a_folder_of_colour_pictures(tmp_path):
    images = [_colours() for _ in range(20)]
    for i, image in enumerate(images):
        _save(tmp_path / f"{i:02}.png", image)
    found = data.load(f"images:{tmp_path}")
    np.testing.assert_array_equal(found.test, np.stack([images[9], images[19]]))
    assert found.train.shape == (18, 5, 6, 3)
    assert (found.num_levels, found.binarization, found.train_labels) == (256, "none", None)
    unit = data.load(f"images:{tmp_path}", pixels="unit")
    np.testing.assert_array_equal(unit.train, found.train / np.float32(255))


def test_folders_of_classes_and_of_splits(tmp_path):
    for split, count in (("train", 3), ("test", 2)):
        for name in ("b", "a"):
            for i in range(count):
                _save(tmp_path / split / name / f"{i}.png", _colours((4, 4)))
    found = data.load(f"images:{tmp_path}", pixels="levels")
    assert found.train.shape == (6, 4, 4, 1)
    np.testing.assert_array_equal(found.train_labels, [0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(found.test_labels, [0, 0, 1, 1])
    assert data.load(f"images:{tmp_path}").binarization == "dynamic"


def test_an_archive_of_arrays(tmp_path):
    path = tmp_path / "own.npz"
    train, test = _colours((6, 4, 4)), _colours((3, 4, 4))
    np.savez(path, train=train, test=test, train_labels=np.arange(6), test_labels=np.arange(3))
    found = data.load(f"npz:{path}", pixels="levels")
    np.testing.assert_array_equal(found.train[..., 0], train)
    np.testing.assert_array_equal(found.test_labels, [0, 1, 2])
    np.savez(path, train=train > 99, test=test > 99)
    bits = data.load(f"npz:{path}")
    assert (bits.num_levels, bits.binarization, bits.train_labels) == (2, "static", None)


def test_what_is_no_set_of_pictures_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no folder: images:FOLDER names one"):
        data.load(f"images:{tmp_path}/missing")
    with pytest.raises(ValueError, match="0 pictures to train on and 0 to test on"):
        data.load(f"images:{tmp_path}")
    _save(tmp_path / "0.png", _colours())
    _save(tmp_path / "1.png", _colours((5, 7, 3)))
    with pytest.raises(ValueError, match=r"1.png is \(5, 7, 3\), and .*0.png is .*one size"):
        data.load(f"images:{tmp_path}")
    (tmp_path / "1.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"1.png is no picture that can be read"):
        data.load(f"images:{tmp_path}")
    with pytest.raises(FileNotFoundError, match="npz:FILE names an archive"):
        data.load("npz:missing.npz")


def test_arrays_that_are_no_levels_are_refused():
    x = np.full((3, 4, 4), 0.5)
    with pytest.raises(ValueError, match=r"train must hold whole levels .* multiply them"):
        data.own.of_arrays(x, x)
    with pytest.raises(ValueError, match=r"train must be images .* got shape \(3, 4\)"):
        data.own.of_arrays(x[0][:3], x)


def test_a_table_of_images_and_labels(tmp_path):
    path, images = tmp_path / "table.csv", _colours((12, 4, 4))
    rows = np.column_stack([np.arange(12), images.reshape(12, -1)])
    names = ",".join(["label", *(f"pixel{i}" for i in range(16))])
    np.savetxt(path, rows, "%d", ",", header=names, comments="")
    found = data.load(f"csv:{path}", pixels="levels")
    np.testing.assert_array_equal(found.train[..., 0], np.delete(images, 9, axis=0))
    np.testing.assert_array_equal(found.test[..., 0], images[9:10])
    np.testing.assert_array_equal(found.test_labels, [9])
    np.savetxt(path, _colours((3, 12)) % 2, "%d", ",")
    bits = data.load(f"csv:{path}")  # 12 = 3 * 2 * 2
    assert (bits.train.shape, bits.num_levels, bits.train_labels) == ((2, 2, 2, 3), 2, None)
    for text, message in [
        ("1,2,3,0,0\n4,5,6,0,0\n", "has 2 rows of 5 pixels: at least two square images"),
        ("label,a\n0.5,3\n1,4\n", "has labels that are no whole numbers, such as 0.5"),
        ("1,2,3,4\n1,2,x,4\n", "is no table of numbers"),
        ("300,2,3,4\n1,2,3,4\n", "whole levels from 0 to 255, got values from 2.0 to 300.0"),
    ]:
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            data.load(f"csv:{path}", pixels="levels")
    with pytest.raises(FileNotFoundError, match="csv:FILE names a table"):
        data.load(f"csv:{tmp_path}/missing.csv")
