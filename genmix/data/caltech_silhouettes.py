"""Outlines of the objects in Caltech 101, 28x28, binary: 4,100 / 2,264 / 2,307 images."""

from pathlib import Path

import numpy as np

from genmix.data import locate, npz, packed
from genmix.data.dataset import Dataset, checked

_FILE = "caltech101_silhouettes.npz"


def load(data_dir: Path | None) -> Dataset:
    """All three splits of the published split 1, with labels 0 to 100.

    Source: Marlin, Swersky, Chen & de Freitas (2010), "Inductive Principles for Restricted
    Boltzmann Machine Learning", section 4.
    """
    path = locate.file(data_dir, "caltech101_silhouettes", _FILE)

    def images(split: str) -> np.ndarray:
        bits = packed.read_bits(path, f"{split}_data", 28 * 28)
        return bits.reshape(-1, 28, 28, 1).astype(np.float32)

    def labels(split: str) -> np.ndarray:
        return npz.read(path, f"{split}_labels").astype(np.int32) - 1  # stored from 1 on

    return checked(
        Dataset(
            name="caltech-silhouettes",
            train=images("train"),
            valid=images("val"),
            test=images("test"),
            train_labels=labels("train"),
            valid_labels=labels("val"),
            test_labels=labels("test"),
            num_levels=2,
            binarization="static",
        )
    )
