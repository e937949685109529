"""Data sets of TensorFlow Datasets (TFDS), by name, read without TensorFlow.

They must have been prepared in the array_record format, which has random access; preparing is what
takes TensorFlow, and a network. docs/data.md says how.
"""

import difflib
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np

from genmix.data.dataset import Dataset, checked

_MAX_BYTES = 8 * 2**30  # of images as float32; a set beyond it is one to stream
_CHUNK = 1000  # examples read at once


class Source:
    """The examples of one split: dicts of arrays, without the features that are no numbers."""

    def __init__(self, examples: Any):
        self._examples = examples
        self.features = tuple(name for name, value in examples[0].items() if _is_numeric(value))

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._select(self._examples[index])

    def __getitems__(self, indices: list[int]) -> list[dict[str, Any]]:
        return [self._select(example) for example in self._examples.__getitems__(indices)]

    def _select(self, example: dict[str, Any]) -> dict[str, Any]:
        return {name: example[name] for name in self.features}


def open_source(name: str, split: str, data_dir: str | Path | None = None) -> Source:
    """Random access to the examples of one split, for a `Stream`.

    Images are uint8 as stored and labels int; text, which no device holds, is left out.

    Args:
        name: as TFDS has it, "mnist" or "NAME/CONFIG:VERSION"; the newest version that is there.
        split: as TFDS has it, "train" or part of it, "train[:90%]".
        data_dir: the folder that holds mnist/; if None TFDS's own, ~/tensorflow_datasets.

    Raises:
        ValueError: if TFDS knows no such set, it has no such split, it was prepared in a format
            without random access, or its files are damaged.
        FileNotFoundError: if the set is not there; the error says how to prepare it.
    """
    return Source(_split(_builder(name, data_dir), name, split))


def load_levels(name: str, data_dir: str | Path | None = None) -> Dataset:
    """A whole set of images in memory as levels 0 .. 255 ("static" if they are all 0 or 1).

    Validation images are those of the split "validation", none where there is no such split.

    Raises:
        ValueError: as `open_source`; or if it has not just one image of one size an example, has no
            "train" or "test" split, or is larger than 8 GiB.
        FileNotFoundError: if the set is not there; the error says how to prepare it.
    """
    builder = _builder(name, data_dir)
    image = _image_feature(builder, name)
    for split in ("train", "test"):
        if split not in builder.info.splits:
            raise ValueError(
                f"tfds:{name} has the splits {', '.join(builder.info.splits)}, but no {split!r}, "
                "which a data set in memory needs: stream the splits that it has (docs/data.md)."
            )
    train, train_labels = _read_all(builder, name, "train", image)
    test, test_labels = _read_all(builder, name, "test", image)
    if "validation" in builder.info.splits:
        valid, valid_labels = _read_all(builder, name, "validation", image)
    else:
        valid, valid_labels = train[:0], None if train_labels is None else train_labels[:0]
    is_binary = max(np.max(images, initial=0) for images in (train, valid, test)) <= 1
    return checked(
        Dataset(
            name=f"tfds:{name}",
            train=train,
            valid=valid,
            test=test,
            train_labels=train_labels,
            valid_labels=valid_labels,
            test_labels=test_labels,
            num_levels=2 if is_binary else 256,
            binarization="static" if is_binary else "none",
        )
    )


def _read_all(
    builder: Any, name: str, split: str, image: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """Images as float32, and labels as int32 where there are some, in the order stored."""
    import tensorflow_datasets as tfds

    features = builder.info.features
    has_labels = "label" in features and isinstance(features["label"], tfds.features.ClassLabel)
    examples = _split(builder, name, split)
    images = np.empty((len(examples), *features[image].shape), np.float32)
    labels = np.empty(len(examples), np.int32)
    for start in range(0, len(examples), _CHUNK):
        chunk = examples.__getitems__(list(range(start, min(start + _CHUNK, len(examples)))))
        here = slice(start, start + len(chunk))
        images[here] = [example[image] for example in chunk]
        if has_labels:
            labels[here] = [example["label"] for example in chunk]
    return images, labels if has_labels else None


def _image_feature(builder: Any, name: str) -> str:
    """Name of the feature that holds the images, if they can be one array that fits."""
    import tensorflow_datasets as tfds

    features = builder.info.features
    found = [key for key in features if isinstance(features[key], tfds.features.Image)]
    remedy = "write a source that makes images of one size of them, and stream it (docs/data.md)."
    if len(found) != 1:
        raise ValueError(
            f"tfds:{name} has {len(found)} image features among {', '.join(sorted(features))}, "
            f"expected one: {remedy}"
        )
    image = features[found[0]]
    if None in image.shape or image.np_dtype != np.uint8:
        raise ValueError(
            f"tfds:{name} has images of shape {image.shape} and dtype {np.dtype(image.np_dtype)}, "
            f"expected one shape and uint8: {remedy}"
        )
    num_bytes = 4 * builder.info.splits.total_num_examples * math.prod(image.shape)
    if num_bytes > _MAX_BYTES:
        raise ValueError(
            f"tfds:{name} would take {num_bytes / 2**30:.1f} GiB of memory, expected at most "
            f"{_MAX_BYTES / 2**30:.0f}: stream it (docs/data.md)."
        )
    return found[0]


def _split(builder: Any, name: str, split: str) -> Any:
    """TFDS's data source: `len`, `source[i]` and `__getitems__`."""
    try:
        return builder.as_data_source(split=split)
    except NotImplementedError as error:
        raise ValueError(
            f"tfds:{name} was prepared as {builder.info.file_format.value}, which has no random "
            "access: where TensorFlow is installed, run `tfds convert_format "
            f"--dataset_version_dir {builder.data_dir} --out_file_format array_record`."
        ) from error
    except ValueError as error:
        raise ValueError(
            f"tfds:{name} has no split {split!r}; it has {', '.join(builder.info.splits)}: {error}"
        ) from error


def _builder(name: str, data_dir: str | Path | None) -> Any:
    """TFDS's reader of the files of a set, wherever the code that made them is."""
    # TFDS takes half a second to import, and only its own sets need it.
    import tensorflow_datasets as tfds
    from google.protobuf import json_format
    from tensorflow_datasets.core import read_only_builder, registered

    where = None if data_dir is None else Path(data_dir).expanduser()
    place = "TFDS's own folder" if where is None else where
    try:
        return read_only_builder.builder_from_files(name, data_dir=where)
    except registered.DatasetNotFoundError as error:
        base = name.split("/")[0].split(":")[0]
        known = tfds.list_builders(with_community_datasets=False)
        present = where is not None and (where / base).is_dir()
        if base not in known and not present:
            close = difflib.get_close_matches(base, known, n=3)
            hint = f" (did you mean {' or '.join(close)}?)" if close else ""
            raise ValueError(f"TFDS knows no data set {base!r}{hint}.") from error
        folder = "" if where is None else f" --data_dir {where}"
        raise FileNotFoundError(
            f"tfds:{name} is not prepared in {place}: where TensorFlow is installed and there is a "
            f"network, run `tfds build {name}{folder} --file_format array_record`."
        ) from error
    except (ValueError, OSError, json_format.Error) as error:
        if "Parsing builder name" in str(error):  # TFDS explains it in twenty lines
            raise ValueError(
                f"{name!r} is not the name of a set in TensorFlow Datasets: write tfds:NAME, "
                "tfds:NAME/CONFIG or tfds:NAME:VERSION, such as tfds:mnist:3.0.1."
            ) from error
        raise ValueError(f"cannot open tfds:{name} in {place}: {error}") from error


def _is_numeric(value: Any) -> bool:
    return all(np.asarray(leaf).dtype.kind in "biuf" for leaf in jax.tree.leaves(value))
