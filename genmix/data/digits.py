"""The 1,797 handwritten digits, 8x8, that ship inside scikit-learn: they need no file."""

import numpy as np

from genmix.data.dataset import Dataset, checked

_NUM_TRAIN = 1_437


def grey_digits() -> np.ndarray:
    """All 1,797 images, float32 `[1797, 8, 8, 1]` in [0, 1], in their published order.

    For models of real-valued pixels, such as probabilistic PCA.
    """
    return _images_and_labels()[0]


def load_levels() -> Dataset:
    """Levels 0 to 16: the first 1,437 images to train on, the last 360 to test on.

    Source: Alpaydin & Kaynak (1998), "Optical Recognition of Handwritten Digits", UCI; the test
    part of that set, as `sklearn.datasets.load_digits` gives it.
    """
    images, labels = _images_and_labels()
    levels = np.round(16 * images)
    return checked(
        Dataset(
            name="digits",
            train=levels[:_NUM_TRAIN],
            valid=levels[:0],
            test=levels[_NUM_TRAIN:],
            train_labels=labels[:_NUM_TRAIN],
            valid_labels=labels[:0],
            test_labels=labels[_NUM_TRAIN:],
            num_levels=17,
            binarization="none",
        )
    )


def _images_and_labels() -> tuple[np.ndarray, np.ndarray]:
    # Imported here because scikit-learn takes a second to import, and only this set needs it.
    from sklearn.datasets import load_digits

    levels, labels = load_digits(return_X_y=True)
    images = np.asarray(levels, np.float32).reshape(-1, 8, 8, 1) / 16  # levels are 0..16
    return images, np.asarray(labels, np.int32)
