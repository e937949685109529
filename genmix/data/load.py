"""Data sets by name, as bits, as levels or in the unit interval."""

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from genmix.data import (
    binarized_mnist,
    caltech_silhouettes,
    digits,
    frey_faces,
    mnist,
    own,
    tfds_source,
)
from genmix.data.dataset import Dataset, in_bits, in_unit_interval

Pixels = Literal["bits", "levels", "unit"]
_OF_LEVELS: dict[str, Callable[[Path | None], Dataset]] = {
    "digits": lambda data_dir: digits.load_levels(),
    "mnist": lambda data_dir: mnist.load_levels("mnist", data_dir),
    "fashion-mnist": lambda data_dir: mnist.load_levels("fashion-mnist", data_dir),
    "frey-faces": frey_faces.load,
}
_OF_BITS: dict[str, Callable[[Path | None], Dataset]] = {
    "binarized-mnist": binarized_mnist.load,
    "caltech-silhouettes": caltech_silhouettes.load,
}
NAMES = (*_OF_LEVELS, *_OF_BITS)
LEVELS = tuple(_OF_LEVELS)
"""Names of the sets that have grey levels."""
OWN = ("images:FOLDER", "npz:FILE", "csv:FILE", "tfds:NAME")
"""What stands for sets without a name here."""


def load(name: str, data_dir: str | Path | None = None, pixels: str | None = None) -> Dataset:
    """The data set of a name in `NAMES`; the digits need no files, the others `data_dir`.

    "images:FOLDER" are pictures of your own, "npz:FILE" arrays and "csv:FILE" a table with an image
    a row, as `genmix.data.own` reads them;
    "tfds:NAME" is a set of TensorFlow Datasets, as `tfds_source` does.

    Args:
        pixels: "bits" are drawn with the levels as probabilities, anew for each training batch;
            "levels" are whole numbers from 0 to num_levels - 1; "unit" are levels in [0, 1]. By
            default bits, but levels of the Frey faces and of colours.

    Raises:
        ValueError: if there is no set of that name, it has no levels and they are asked for, it
            needs files and no `data_dir` was given, or a file is damaged.
        FileNotFoundError: if a file is not there; the error says where it was expected.
    """
    if pixels not in (None, "bits", "levels", "unit"):
        raise ValueError(f"pixels must be bits, levels or unit, got {pixels!r}.")
    if pixels in ("levels", "unit") and name in _OF_BITS:
        raise ValueError(_no_levels(name))
    found = _stored(name, None if data_dir is None else Path(data_dir).expanduser())
    if pixels is None:
        is_grey = found.train.shape[-1] == 1 and name != "frey-faces"
        pixels = "bits" if is_grey or found.num_levels == 2 else "levels"
    if pixels == "bits":
        return in_bits(found)
    if found.num_levels == 2:
        raise ValueError(_no_levels(name))
    return in_unit_interval(found) if pixels == "unit" else found


def _stored(name: str, data_dir: Path | None) -> Dataset:
    """Levels, or bits where there are no others."""
    kind, colon, rest = name.partition(":")
    if colon and kind == "tfds":
        return tfds_source.load_levels(rest, data_dir)
    if colon and kind == "images":
        return own.load_folder(rest)
    if colon and kind == "npz":
        return own.load_archive(rest)
    if colon and kind == "csv":
        return own.load_table(rest)
    loaders = _OF_LEVELS | _OF_BITS
    if name not in loaders:
        close = difflib.get_close_matches(name, NAMES, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise ValueError(
            f"there is no data set {name!r}{hint}; there are {', '.join(NAMES)}, and "
            f"{', '.join(OWN)}."
        )
    return loaders[name](data_dir)


def _no_levels(name: str) -> str:
    return (
        f"there are no grey levels of {name!r}, which has bits: take pixels='bits', or one of "
        f"{', '.join(LEVELS)}."
    )
