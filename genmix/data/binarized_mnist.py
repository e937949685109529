"""MNIST binarized once and published so ("static"): 50,000 / 10,000 / 10,000 images, 28x28.

Likelihoods on it are about 2 nats worse than on dynamically binarized MNIST for the same model,
so numbers of the two must not be compared.
"""

from pathlib import Path

import numpy as np

from genmix.data import locate, packed
from genmix.data.dataset import Dataset, checked


def load(data_dir: Path | None) -> Dataset:
    """All three splits, binary, without labels; from an archive, or Larochelle's three .amat files.

    Source: Larochelle & Murray (2011), "The Neural Autoregressive Distribution Estimator",
    section 5, after Salakhutdinov & Murray (2008).
    """

    def images(split: str) -> np.ndarray:
        name = f"binarized_mnist_{split}.amat"
        if data_dir is not None and locate.exists(data_dir, "binarized_mnist", name):
            bits = _read_text(locate.file(data_dir, "binarized_mnist", name))
        else:
            path = locate.file(data_dir, "binarized_mnist", "binarized_mnist.npz")
            bits = packed.read_bits(path, split, 28 * 28)
        return bits.reshape(-1, 28, 28, 1).astype(np.float32)

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


def _read_text(path: Path) -> np.ndarray:
    """Rows of 784 zeros and ones, with blanks between them, [n, 784]."""
    characters = np.frombuffer(path.read_bytes(), np.uint8)
    digits = characters[characters > ord(" ")] - np.uint8(ord("0"))
    if digits.size == 0 or digits.size % 784 or np.any(digits > 1):
        raise ValueError(
            f"{path} is no text of rows of 784 zeros and ones: it has {digits.size} characters "
            "besides blanks, or others than 0 and 1."
        )
    return digits.reshape(-1, 784)
