"""Frey faces: 1,965 frames of a film of one face, 28 high and 20 wide, grey."""

from pathlib import Path

import numpy as np

from genmix.data import locate, npz
from genmix.data.dataset import Dataset, checked

_NUM_VALID, _NUM_TEST = 200, 200


def load(data_dir: Path | None) -> Dataset:
    """Levels 0 to 255, split 1,565 / 200 / 200 in order of time, without labels.

    Neighbouring frames are nearly equal: a random split would put the twins of training frames
    into the test set. Source: Roweis, Saul & Hinton (2002), "Global coordination of local linear
    models", NIPS 14.
    """
    path = locate.file(data_dir, "frey_faces", "frey_faces.npz")
    frames = npz.read(path, "images")[..., None].astype(np.float32)
    if frames.shape[1:] != (28, 20, 1) or len(frames) <= _NUM_VALID + _NUM_TEST:
        raise ValueError(
            f"{path}: array 'images' has shape {frames.shape[:-1]}, expected (frames, 28, 20) with "
            f"more than the {_NUM_VALID + _NUM_TEST} frames that validate and test."
        )
    train, valid, test = np.split(frames, [-_NUM_VALID - _NUM_TEST, -_NUM_TEST])
    return checked(
        Dataset(
            name="frey-faces",
            train=train,
            valid=valid,
            test=test,
            train_labels=None,
            valid_labels=None,
            test_labels=None,
            num_levels=256,
            binarization="none",
        )
    )
