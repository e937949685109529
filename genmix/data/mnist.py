"""MNIST and Fashion-MNIST: the four original IDX files each, binarized dynamically.

Split and binarization are those of Burda's code for importance-weighted autoencoders: 59,600
images to train on, the last 400 of the training file to validate, 10,000 to test.
"""

from pathlib import Path

import numpy as np

from genmix.data import idx, locate
from genmix.data.binarization import binarize_once
from genmix.data.dataset import Dataset

_NUM_VALID = 400
_VALID_SEED, _TEST_SEED = 1, 0


def load(data_dir: Path | None) -> Dataset:
    """MNIST, 28x28. Source: LeCun, Bottou, Bengio & Haffner (1998), Proceedings of the IEEE."""
    return _load("mnist", data_dir, "mnist", first_labels=(5, 0, 4, 1, 9))


def load_fashion(data_dir: Path | None) -> Dataset:
    """Fashion-MNIST, 28x28. Source: Xiao, Rasul & Vollgraf (2017), arXiv:1708.07747."""
    return _load("fashion-mnist", data_dir, "fashion_mnist", first_labels=(9, 0, 0, 3, 0))


def _load(name: str, data_dir: Path | None, folder: str, first_labels: tuple[int, ...]) -> Dataset:
    def path(file_name: str) -> Path:
        return locate.file(data_dir, folder, file_name, may_be_gzipped=True)

    labels_path = path("train-labels-idx1-ubyte")
    labels = idx.read(labels_path).astype(np.int32)
    # Sets in this form have the same file names and sizes, so only the contents tell them apart.
    if (found := tuple(labels[: len(first_labels)].tolist())) != first_labels:
        raise ValueError(
            f"{labels_path} starts with labels {found}, expected {first_labels}: it is not the "
            f"training part of {name}."
        )
    test_labels = idx.read(path("t10k-labels-idx1-ubyte")).astype(np.int32)
    train = _probabilities(path("train-images-idx3-ubyte"))
    test = _probabilities(path("t10k-images-idx3-ubyte"))
    return Dataset(
        name=name,
        train=train[:-_NUM_VALID],
        valid=binarize_once(train[-_NUM_VALID:], _VALID_SEED),
        test=binarize_once(test, _TEST_SEED),
        train_labels=labels[:-_NUM_VALID],
        valid_labels=labels[-_NUM_VALID:],
        test_labels=test_labels,
        num_levels=2,
        binarization="dynamic",
    )


def _probabilities(path: Path) -> np.ndarray:
    grey = idx.read(path)
    if grey.dtype != np.uint8:
        raise ValueError(f"{path} has elements of dtype {grey.dtype}, expected uint8.")
    return grey[..., None] / np.float32(255)
