"""Polyphonic music: JSB chorales, Nottingham, Piano-midi.de and MuseData, 88 keys a step."""

from pathlib import Path

import numpy as np

from genmix.data import locate, npz, packed, ragged
from genmix.data.ragged import RaggedDataset

NAMES = ("jsb-chorales", "nottingham", "piano-midi", "musedata")
NUM_KEYS = 88


def load(name: str, data_dir: str | Path | None) -> RaggedDataset:
    """A set of a name in `NAMES`: sequences of bits `[steps, 88]`, in the published splits.

    A step says which keys sound. The file `pianorolls/NAME.npz`, its name with underscores, holds
    for each split S (traindata, validdata, testdata) all steps, bits packed, and `S_lengths`.

    Raises:
        ValueError: if there is no such set, or no data_dir, or the file is damaged.
        FileNotFoundError: if the file is not there.

    Source: Boulanger-Lewandowski, Bengio & Vincent (2012), arXiv:1206.6392, section 6.
    """
    if name not in NAMES:
        raise ValueError(f"there are no pianorolls {name!r}; there are {', '.join(NAMES)}.")
    folder = None if data_dir is None else Path(data_dir)
    path = locate.file(folder, "pianorolls", f"{name.replace('-', '_')}.npz")

    def sequences(split: str) -> list[np.ndarray]:
        steps = packed.read_bits(path, split, NUM_KEYS).astype(np.float32)
        lengths = npz.read(path, f"{split}_lengths", dtypes=("int32",))
        return ragged.split(path, steps, lengths)

    return RaggedDataset(
        name, sequences("traindata"), sequences("validdata"), sequences("testdata")
    )
