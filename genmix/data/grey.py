"""Data sets in their grey levels, for likelihoods of more than two values."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from genmix.data import digits, frey_faces, mnist, tfds_source
from genmix.data.dataset import Dataset, thinned

NAMES = ("digits", "mnist", "fashion-mnist", "frey-faces")


def load_grey(name: str, data_dir: str | Path | None = None) -> Dataset:
    """The data set of a name in `NAMES` as levels 0 .. num_levels - 1, in the splits of `load`.

    The digits have 17 levels and need no files; the others have 256. "tfds:NAME" is one of
    TensorFlow Datasets, as `tfds_source.load_grey` gives it.

    Raises:
        ValueError: if there are no grey levels of that name, it needs files and no `data_dir` was
            given, or a file is damaged.
        FileNotFoundError: if a file is not there; the error says where it was expected.
    """
    if name.startswith("tfds:"):
        return tfds_source.load_grey(name.removeprefix("tfds:"), data_dir)
    if name not in NAMES:
        raise ValueError(
            f"there are no grey levels of {name!r}; there are of {', '.join(NAMES)}, and of "
            "tfds:NAME from TensorFlow Datasets."
        )
    directory = None if data_dir is None else Path(data_dir)
    if name == "digits":
        return _digits()
    if name == "frey-faces":
        return frey_faces.load(directory)
    return mnist.load_grey(name, directory)


def _digits() -> Dataset:
    binary = digits.load()
    levels = np.round(16 * digits.grey_digits())
    train, test = np.split(levels, [len(binary.train)])
    return binary._replace(
        train=train, valid=test[:0], test=test, num_levels=17, binarization="none"
    )


class Images(NamedTuple):
    """Grey images in [0, 1], with labels."""

    train: np.ndarray
    test: np.ndarray
    labels: tuple[np.ndarray, np.ndarray]  # of train, of test


def load_images(
    name: str, data_dir: str | Path | None = None, *, limit: int | None = None
) -> Images:
    """The images of `load_grey`, divided by their highest level, with their labels.

    Args:
        limit: test images at most, as in `thinned`.

    Raises:
        ValueError: as `load_grey`, or if the set has no labels.
        FileNotFoundError: as `load_grey`.
    """
    dataset = thinned(load_grey(name, data_dir), limit)
    if dataset.train_labels is None or dataset.test_labels is None:
        raise ValueError(f"{name} has no labels, which this needs.")
    top = dataset.num_levels - 1
    labels = (dataset.train_labels, dataset.test_labels)
    return Images(dataset.train / top, dataset.test / top, labels)
