"""Files of images and of labels that are each sound, but not of one part of one set."""

import functools
import gzip
import struct
from typing import Any

import numpy as np
import pytest

from genmix import data
from genmix.data import frey_faces, packed
from genmix.data.dataset import checked

FIRST = {"mnist": (5, 0, 4, 1, 9), "fashion-mnist": (9, 0, 0, 3, 0)}


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def files(name="mnist", *, train=(430, 430), test=(20, 20)) -> dict[str, np.ndarray]:
    """Images and labels of a small set: image i of a part is all i, its label i % 10."""
    images = lambda n: np.broadcast_to(np.arange(n)[:, None, None] % 256, (n, 4, 3))
    labels = np.arange(train[1]) % 10
    labels[:5] = FIRST[name]
    return {
        "train-images-idx3": images(train[0]),
        "train-labels-idx1": labels,
        "t10k-images-idx3": images(test[0]) // 2,
        "t10k-labels-idx1": np.arange(test[1]) % 10,
    }


def written(folder, parts, *, zipped=()):
    for name, array in parts.items():
        content = idx_bytes(array)
        if name in zipped:
            (folder / f"{name}-ubyte.gz").write_bytes(gzip.compress(content))
        else:
            (folder / f"{name}-ubyte").write_bytes(content)
    return folder


@pytest.mark.parametrize("name", FIRST)
@pytest.mark.parametrize("load", [data.load, functools.partial(data.load, pixels="levels")])
def test_files_of_one_set_are_read_with_their_labels(tmp_path, name, load):
    parts = files(name)
    loaded = load(name, written(tmp_path, parts, zipped=["t10k-images-idx3"]))
    assert (len(loaded.train), len(loaded.valid), len(loaded.test)) == (30, 400, 20)
    np.testing.assert_array_equal(loaded.valid_labels, parts["train-labels-idx1"][30:])
    np.testing.assert_array_equal(loaded.test_labels, np.arange(20) % 10)
    white = 255 if loaded.num_levels == 2 else 1
    np.testing.assert_allclose(loaded.train[:, 0, 0, 0] * white, np.arange(30), rtol=1e-6)


@pytest.mark.parametrize("load", [data.load, functools.partial(data.load, pixels="levels")])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"train": (20, 430)},
            r"train-images-idx3-ubyte has 20 images, but .*train-labels-\S+ has",
        ),
        ({"train": (430, 420)}, "has 430 images, but .* has 420 labels: they do not belong"),
        ({"test": (430, 20)}, r"t10k-images-idx3-ubyte has 430 images, but .* has 20 labels: they"),
        ({"test": (20, 430)}, "has 20 images, but .* has 430 labels: they do not belong together"),
        ({"train": (400, 400)}, "has 400 images, of which the last 400 are for validation: none"),
    ],
)
def test_images_and_labels_of_two_parts_are_refused(tmp_path, change, message, load):
    with pytest.raises(ValueError, match=message):
        load("mnist", written(tmp_path, files(**change)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"train-images-idx3": np.zeros((430, 12))},
            r"train-images\S+ has .* shape \(430, 12\), ex",
        ),
        (
            {"train-labels-idx1": np.zeros((430, 2))},
            r"train-labels\S+ starts with labels \(\[",
        ),
        ({"t10k-labels-idx1": np.zeros((20, 2))}, r"t10k-labels\S+ has .* shape \(20, 2\), expect"),
        ({"train-labels-idx1": np.zeros(430)}, r"starts with labels \(0, 0, 0, 0, 0\), expected"),
        ({"t10k-images-idx3": np.zeros((20, 3, 4))}, r"test images have shape \(20, 3, 4, 1\), ex"),
    ],
)
def test_images_of_another_form_are_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        data.load("mnist", written(tmp_path, files() | change))


def test_a_test_part_that_is_the_training_part_is_refused(tmp_path):
    parts = files()
    twins = {name.replace("train", "t10k"): a for name, a in parts.items() if "train" in name}
    with pytest.raises(ValueError, match=r"t10k-images\S+ holds the training images, and .*: put"):
        data.load("mnist", written(tmp_path, parts | twins))


def test_every_reader_hands_out_splits_that_fit():
    loaded = data.load("digits")
    assert loaded.train_labels is not None
    assert loaded.test_labels is not None
    for change, message in (
        ({"train_labels": loaded.train_labels[1:]}, r"train has 1437 images, but labels of .*1436"),
        ({"test_labels": loaded.test_labels - 1}, "labels of test are counted from 0, got -1"),
        ({"test": loaded.test[:, 1:]}, r"test images have shape \(360, 7, 8, 1\), expected"),
        ({"test": loaded.test[:0], "test_labels": None}, "there are no test images"),
    ):
        with pytest.raises(ValueError, match=message):
            checked(loaded._replace(**change))
    assert checked(loaded) is loaded


def test_archives_of_another_size_are_refused(tmp_path):
    np.savez(tmp_path / "frey_faces.npz", images=np.zeros((400, 28, 20), np.uint8))
    with pytest.raises(
        ValueError, match=r"has shape \(400, 28, 20\), expected .* more than the 400"
    ):
        frey_faces.load(tmp_path)
    rows = lambda n: np.packbits(np.ones((n, 28 * 28), np.uint8), axis=1)
    arrays: dict[str, Any] = {f"{split}_data": rows(3) for split in ("train", "val", "test")}
    arrays |= {f"{split}_labels": np.full(2, 1, np.uint8) for split in ("train", "val", "test")}
    np.savez(tmp_path / "caltech101_silhouettes.npz", **arrays)
    assert packed.read_bits(tmp_path / "caltech101_silhouettes.npz", "val_data", 784).all()
    with pytest.raises(
        ValueError, match=r"train has 3 images, but labels of shape \(2,\): they do"
    ):
        data.load("caltech-silhouettes", tmp_path)


def test_files_as_other_libraries_keep_them(tmp_path, monkeypatch):
    """IDX names with a dot, Keras' archive, and a folder in the user's home."""
    expected = data.load("mnist", written(tmp_path, files()), pixels="levels")
    dotted, keras = tmp_path / "dotted", tmp_path / "keras"
    dotted.mkdir()
    keras.mkdir()
    for path in tmp_path.glob("*-ubyte"):
        path.rename(dotted / path.name.replace("-idx", ".idx"))
    parts = files()
    arrays: dict[str, Any] = {
        f"{x}_{split}": parts[f"{part}-{kind}"].astype(np.uint8)
        for split, part in (("train", "train"), ("test", "t10k"))
        for x, kind in (("x", "images-idx3"), ("y", "labels-idx1"))
    }
    np.savez(keras / "mnist.npz", **arrays)
    monkeypatch.setenv("HOME", str(tmp_path))
    for folder in (dotted, keras, "~/keras"):
        found = data.load("mnist", folder, pixels="levels")
        np.testing.assert_array_equal(found.train, expected.train)
        np.testing.assert_array_equal(found.test_labels, expected.test_labels)
    np.savez(keras / "mnist.npz", **arrays | {"y_test": arrays["y_test"][:-1]})
    with pytest.raises(ValueError, match="they do not belong together"):
        data.load("mnist", keras)
    np.savez(keras / "mnist.npz", **arrays | {"y_train": arrays["y_train"][::-1]})
    with pytest.raises(ValueError, match="it is not that of mnist"):
        data.load("mnist", keras)


def test_static_mnist_as_text(tmp_path):
    rng = np.random.default_rng(0)
    splits = {name: rng.integers(2, size=(3, 784)) for name in ("train", "valid", "test")}
    for name, bits in splits.items():
        np.savetxt(tmp_path / f"binarized_mnist_{name}.amat", bits, "%d")
    found = data.load("binarized-mnist", tmp_path)
    np.testing.assert_array_equal(found.valid.reshape(3, -1), splits["valid"])
    (tmp_path / "binarized_mnist_test.amat").write_text("0 1 2\n")
    with pytest.raises(ValueError, match="is no text of rows of 784 zeros and ones"):
        data.load("binarized-mnist", tmp_path)
