"""Grey images in [0, 1], with labels."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from genmix.data.dataset import thinned
from genmix.data.load import load


class Images(NamedTuple):
    """Grey images in [0, 1], with labels."""

    train: np.ndarray
    test: np.ndarray
    labels: tuple[np.ndarray, np.ndarray]  # of train, of test


def load_images(
    name: str, data_dir: str | Path | None = None, *, limit: int | None = None
) -> Images:
    """The images of a set in the unit interval, with their labels.

    Args:
        limit: test images at most, as in `thinned`.

    Raises:
        ValueError: as `load`, or if the set has no labels.
        FileNotFoundError: as `load`.
    """
    dataset = thinned(load(name, data_dir, "unit"), limit)
    if dataset.train_labels is None or dataset.test_labels is None:
        raise ValueError(f"{name} has no labels, which this needs.")
    labels = (dataset.train_labels, dataset.test_labels)
    return Images(dataset.train, dataset.test, labels)
