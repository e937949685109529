"""MNIST binarized once and published so ("static"): 50,000 / 10,000 / 10,000 images, 28x28.

Likelihoods on it are about 2 nats worse than on dynamically binarized MNIST for the same model,
so numbers of the two must not be compared.
"""

from pathlib import Path

import numpy as np

from genmix.data import locate, packed
from genmix.data.dataset import Dataset, checked


def load(data_dir: Path | None) -> Dataset:
    """All three splits, binary, without labels.

    Source: Larochelle & Murray (2011), "The Neural Autoregressive Distribution Estimator",
    section 5, after Salakhutdinov & Murray (2008).
    """
    path = locate.file(data_dir, "binarized_mnist", "binarized_mnist.npz")

    def images(split: str) -> np.ndarray:
        return packed.read_bits(path, split, 28 * 28).reshape(-1, 28, 28, 1).astype(np.float32)

    return checked(
        Dataset(
            name="binarized-mnist",
            train=images("train"),
            valid=images("valid"),
            test=images("test"),
            train_labels=None,
            valid_labels=None,
            test_labels=None,
            num_levels=2,
            binarization="static",
        )
    )
