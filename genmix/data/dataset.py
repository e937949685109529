"""What every data source hands back: three splits of images, their labels, and their levels."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from jax import Array

from genmix.data.binarization import binarize, binarize_once


class Dataset(NamedTuple):
    """Images in three splits; every split is float32 `[n, height, width, channels]`.

    What the values of a split are depends on `binarization`:

    - "dynamic": `train` holds the Bernoulli probabilities, in [0, 1], of binary pixels that
      `binarization.binarize` redraws each time a batch is used; `valid` and `test` are binary and
      were drawn once from a fixed key, so that two runs are scored on the same images.
    - "static": all three are binary, as they were published.
    - "none": all three are levels, whole numbers from 0 to `num_levels - 1`; with `is_unit` these
      levels divided by the highest, in [0, 1].
    """

    name: str
    train: np.ndarray
    valid: np.ndarray  # has length 0 where the set defines no validation images
    test: np.ndarray
    train_labels: np.ndarray | None  # int32 [n], counted from 0
    valid_labels: np.ndarray | None
    test_labels: np.ndarray | None
    num_levels: int  # 2 = binary, 256 = grey levels of one byte
    binarization: Literal["dynamic", "static", "none"]
    is_unit: bool = False

    @property
    def transform(self) -> Callable[[Any, Any], Any] | None:
        """(key, batch) -> batch, how a batch of training images is made ready; None if it is."""
        return binarize if self.binarization == "dynamic" else None

    def to_image(self, event: Array) -> Array:
        """The event in [0, 1], for pictures and classifiers."""
        return event if self.is_unit else event / (self.num_levels - 1)


_VALID_SEED, _TEST_SEED = 1, 0  # of the draws that validation and test sets are scored on


def in_bits(levels: Dataset) -> Dataset:
    """Levels as probabilities of bits, drawn anew for each training batch; bits as they are."""
    if levels.num_levels == 2:
        return levels
    unit = in_unit_interval(levels)
    return unit._replace(
        valid=binarize_once(unit.valid, _VALID_SEED),
        test=binarize_once(unit.test, _TEST_SEED),
        num_levels=2,
        binarization="dynamic",
        is_unit=False,
    )


def in_unit_interval(levels: Dataset) -> Dataset:
    """Levels divided by the highest."""
    top = np.float32(levels.num_levels - 1)
    splits = {name: getattr(levels, name) / top for name in ("train", "valid", "test")}
    return levels._replace(**splits, is_unit=True)


def checked(dataset: Dataset) -> Dataset:
    """The data set itself, whose parts belong together; every reader of files hands out this.

    Raises:
        ValueError: if a split has not as many labels as images or a label below 0, its images are
            not of the size of those of the others, or there are none to train or to test on.
    """
    for split in ("train", "valid", "test"):
        images, labels = getattr(dataset, split), getattr(dataset, f"{split}_labels")
        if images.ndim != 4 or images.shape[1:] != dataset.train.shape[1:]:
            raise ValueError(
                f"{dataset.name}: {split} images have shape {images.shape}, expected "
                f"[n, height, width, channels] as in train, {dataset.train.shape}."
            )
        if labels is not None and labels.shape != images.shape[:1]:
            raise ValueError(
                f"{dataset.name}: {split} has {len(images)} images, but labels of shape "
                f"{labels.shape}: they do not belong together."
            )
        if labels is not None and np.any(labels < 0):
            raise ValueError(
                f"{dataset.name}: labels of {split} are counted from 0, got {labels.min()}."
            )
        if split != "valid" and not len(images):
            raise ValueError(f"{dataset.name}: there are no {split} images.")
    return dataset


def thinned(dataset: Dataset, limit: int | None) -> Dataset:
    """The data set with at most `limit` validation and test images, evenly spaced among all.

    None keeps all. Training images stay. The first ones would not do: in MNIST they are easier.

    Raises:
        ValueError: if limit < 1.
    """
    if limit is None:
        return dataset
    if limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}.")

    def thin(part: np.ndarray | None) -> np.ndarray | None:
        if part is None or len(part) <= limit:
            return part
        return part[np.arange(limit) * len(part) // limit]

    names = ("valid", "test", "valid_labels", "test_labels")
    return dataset._replace(**{name: thin(getattr(dataset, name)) for name in names})


def require(dataset: Dataset, *, batch_size: int, patience: int | None = None) -> None:
    """Refuse, before anything is written, a training run for which the images do not suffice.

    Args:
        patience: of early stopping, which needs validation images; None if there is none.

    Raises:
        ValueError: naming what cannot be.
    """
    if batch_size > len(dataset.train):
        raise ValueError(
            f"batch_size must be at most {len(dataset.train)}, the training images of "
            f"{dataset.name}; got {batch_size}."
        )
    if patience is not None and not len(dataset.valid):
        raise ValueError(
            f"{dataset.name} has no validation images, so it cannot stop early: leave out "
            "--patience."
        )
