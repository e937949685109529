"""Data sets by name."""

import difflib
from collections.abc import Callable
from pathlib import Path

from genmix.data import (
    binarized_mnist,
    caltech_silhouettes,
    digits,
    frey_faces,
    mnist,
    tfds_source,
)
from genmix.data.dataset import Dataset

_LOADERS: dict[str, Callable[[Path | None], Dataset]] = {
    "digits": lambda data_dir: digits.load(),
    "mnist": mnist.load,
    "binarized-mnist": binarized_mnist.load,
    "fashion-mnist": mnist.load_fashion,
    "caltech-silhouettes": caltech_silhouettes.load,
    "frey-faces": frey_faces.load,
}
NAMES = tuple(_LOADERS)


def load(name: str, data_dir: str | Path | None = None) -> Dataset:
    """The data set of a name in `NAMES`; the digits need no files, the others `data_dir`.

    "tfds:NAME" is one of TensorFlow Datasets, as `tfds_source.load` gives it.

    Raises:
        ValueError: if there is no set of that name, it needs files and no `data_dir` was given, or
            a file is damaged.
        FileNotFoundError: if a file is not there; the error says where it was expected.
    """
    if name.startswith("tfds:"):
        return tfds_source.load(name.removeprefix("tfds:"), data_dir)
    if name not in _LOADERS:
        close = difflib.get_close_matches(name, NAMES, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise ValueError(
            f"there is no data set {name!r}{hint}; there are {', '.join(NAMES)}, and tfds:NAME "
            "for those of TensorFlow Datasets."
        )
    return _LOADERS[name](None if data_dir is None else Path(data_dir))
