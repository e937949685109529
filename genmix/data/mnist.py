"""MNIST and Fashion-MNIST: the four original IDX files each, or Keras' mnist.npz.

Split and binarization are those of Burda's code for importance-weighted autoencoders: 59,600
images to train on, the last 400 of the training file to validate, 10,000 to test.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from genmix.data import idx, locate, npz
from genmix.data.dataset import Dataset, checked

_NUM_VALID = 400
_FOLDERS = {"mnist": "mnist", "fashion-mnist": "fashion_mnist"}
# Sets in this form have the same file names and sizes, so only the contents tell them apart.
_FIRST_LABELS = {"mnist": (5, 0, 4, 1, 9), "fashion-mnist": (9, 0, 0, 3, 0)}


def load_levels(name: str, data_dir: Path | None) -> Dataset:
    """MNIST or Fashion-MNIST, 28x28, as levels 0 .. 255.

    Source: LeCun, Bottou, Bengio & Haffner (1998), Proceedings of the IEEE; Xiao, Rasul & Vollgraf
    (2017), arXiv:1708.07747.

    Raises:
        ValueError: if a file is damaged or of another set, or two of them do not belong together.
        FileNotFoundError: if a file is not there.
    """
    archive = None if data_dir is None or name != "mnist" else locate.archive(data_dir, "mnist")
    read = _read if archive is None else _read_archive
    train, test = (read(archive or data_dir, name, part) for part in ("train", "t10k"))
    if len(train.labels) <= _NUM_VALID:
        raise ValueError(
            f"{train.images_path} has {len(train.images)} images, of which the last {_NUM_VALID} "
            "are for validation: none are left to train on."
        )
    if np.array_equal(train.labels, test.labels) and np.array_equal(train.images, test.images):
        raise ValueError(
            f"{test.images_path} holds the training images, and {test.labels_path} their labels: "
            f"put the test files of {name} there."
        )
    return checked(
        Dataset(
            name=name,
            train=train.images[:-_NUM_VALID],
            valid=train.images[-_NUM_VALID:],
            test=test.images,
            train_labels=train.labels[:-_NUM_VALID],
            valid_labels=train.labels[-_NUM_VALID:],
            test_labels=test.labels,
            num_levels=256,
            binarization="none",
        )
    )


class _Part(NamedTuple):
    """The two files of one part, "train" or "t10k"."""

    images_path: Path
    images: np.ndarray  # float32 [n, height, width, 1], levels
    labels_path: Path
    labels: np.ndarray  # int32 [n]


def _read(data_dir: Path | None, name: str, part: str) -> _Part:
    path = lambda kind: locate.file(
        data_dir, _FOLDERS[name], f"{part}-{kind}-ubyte", may_be_gzipped=True
    )
    labels_path = path("labels-idx1")
    labels, first = idx.read(labels_path), _FIRST_LABELS[name]
    if part == "train" and (found := tuple(labels[: len(first)].tolist())) != first:
        raise ValueError(
            f"{labels_path} starts with labels {found}, expected {first}: it is not the training "
            f"part of {name}."
        )
    images_path = path("images-idx3")
    levels = idx.read(images_path)
    if levels.dtype != np.uint8 or levels.ndim != 3:
        raise ValueError(
            f"{images_path} has elements of dtype {levels.dtype} and shape {levels.shape}, "
            "expected uint8 and (images, height, width)."
        )
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise ValueError(
            f"{labels_path} has elements of dtype {labels.dtype} and shape {labels.shape}, "
            "expected whole numbers and (labels,)."
        )
    return _part(images_path, levels, labels_path, labels)


def _read_archive(path: Path | None, name: str, part: str) -> _Part:
    """From arrays x_train, y_train, x_test and y_test."""
    assert path is not None
    split = "train" if part == "train" else "test"
    levels, labels = npz.read(path, f"x_{split}"), npz.read(path, f"y_{split}")
    first = _FIRST_LABELS[name]
    if part == "train" and (found := tuple(labels[: len(first)].tolist())) != first:
        raise ValueError(
            f"{path} starts with labels {found}, expected {first}: it is not that of {name}."
        )
    if levels.ndim != 3 or labels.ndim != 1:
        raise ValueError(
            f"{path} has x_{split} of shape {levels.shape} and y_{split} of shape {labels.shape}, "
            "expected (images, height, width) and (labels,)."
        )
    return _part(path, levels, path, labels)


def _part(images_path: Path, levels: np.ndarray, labels_path: Path, labels: np.ndarray) -> _Part:
    if len(levels) != len(labels):
        raise ValueError(
            f"{images_path} has {len(levels)} images, but {labels_path} has {len(labels)} labels: "
            "they do not belong together."
        )
    images = levels[..., None].astype(np.float32)
    return _Part(images_path, images, labels_path, labels.astype(np.int32))
