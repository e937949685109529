"""Sequences of different lengths: files of them, and arrays of one shape that models take."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from genmix.data import npz
from genmix.families.sequence.padded import Padded


class RaggedDataset(NamedTuple):
    """Sequences in three splits, each a list of arrays `[steps, *event]` of float32."""

    name: str
    train: list[np.ndarray]
    valid: list[np.ndarray]  # empty where the set defines no validation sequences
    test: list[np.ndarray]


def split(path: object, steps: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    """The sequences that lie one behind the other in `steps`.

    Raises:
        ValueError: naming `path`, if a length is below 1, or they do not add up to the steps.
    """
    if lengths.ndim != 1 or (lengths < 1).any():
        raise ValueError(f"{path}: lengths must be a vector of whole numbers from 1 on.")
    total = sum(lengths.tolist())  # of Python's integers: a damaged file must not overflow
    if total != len(steps):
        raise ValueError(f"{path}: lengths add up to {total}, expected {len(steps)}, all steps.")
    return np.split(steps, np.cumsum(lengths)[:-1])


def read(path: str | os.PathLike[str], name: str) -> list[np.ndarray]:
    """The sequences that `write` put into an NPZ archive under a name, as float32.

    Raises:
        ValueError: if the archive is damaged or lacks them, or their lengths do not fit.
        OSError: if there is no such file, or it cannot be read.
    """
    path = Path(path)
    steps = npz.read(path, name, dtypes=("uint8", "float32"))
    lengths = npz.read(path, f"{name}_lengths", dtypes=("int32", "int64"))
    return split(path, steps.astype(np.float32), lengths)


def write(path: str | os.PathLike[str], **splits: Sequence[np.ndarray]) -> None:
    """Put lists of sequences into an NPZ archive: `NAME`, all steps, and `NAME_lengths`.

    Whole numbers from 0 to 255 are kept as bytes, all else as float32.

    Raises:
        ValueError: if a list or a sequence is empty, or the steps of one list differ in shape.
    """
    arrays: dict[str, np.ndarray] = {}
    for name, sequences in splits.items():
        shapes = {np.shape(s)[1:] for s in sequences}
        if len(shapes) != 1 or not all(len(s) for s in sequences):
            raise ValueError(
                f"{name} must hold sequences of at least one step, all of one shape; got "
                f"{len(sequences)} sequences with steps of shapes {sorted(shapes)}."
            )
        steps = np.concatenate([np.asarray(s, np.float32) for s in sequences])
        bytes_ = np.clip(steps, 0, 255).astype(np.uint8)
        arrays[name] = bytes_ if (bytes_ == steps).all() else steps
        arrays[f"{name}_lengths"] = np.array([len(s) for s in sequences], np.int32)
    np.savez_compressed(Path(path), allow_pickle=False, **arrays)


def image_rows(images: np.ndarray) -> np.ndarray:
    """Images `[n, height, width, channels]` as sequences of rows `[n, height, width * channels]`.

    Columns are the rows of `images.swapaxes(1, 2)`.
    """
    if images.ndim != 4:
        raise ValueError(
            f"images must have shape [n, height, width, channels], got {images.shape}."
        )
    return images.reshape(*images.shape[:2], -1)


def pad(sequences: Sequence[Any], num_steps: int | None = None) -> Padded:
    """Sequences with zeros behind their ends, up to `num_steps` or to the longest of them.

    Raises:
        ValueError: if there are none, one is empty or longer than num_steps, or they differ in more
            than length.
    """
    if not len(sequences):
        raise ValueError("pad needs at least one sequence, got none.")
    arrays = [np.asarray(s) for s in sequences]
    for i, a in enumerate(arrays):
        if a.ndim < 1 or not len(a):
            raise ValueError(f"sequence {i} has no steps: leave empty sequences out.")
        if a.shape[1:] != arrays[0].shape[1:]:
            raise ValueError(
                f"sequence {i} has steps of shape {a.shape[1:]}, expected {arrays[0].shape[1:]}, "
                "those of the first."
            )
    length = np.array([len(a) for a in arrays], np.int32)
    longest = int(length.max())
    num_steps = longest if num_steps is None else num_steps
    if longest > num_steps:
        raise ValueError(
            f"num_steps must be at least {longest}, the longest of the sequences; got {num_steps}."
        )
    dtype = np.result_type(*arrays)
    values = np.zeros((len(arrays), num_steps, *arrays[0].shape[1:]), dtype)
    for row, a in zip(values, arrays, strict=True):
        row[: len(a)] = a
    return Padded(values, length)


def cut(sequences: Sequence[Any], num_steps: int) -> list[np.ndarray]:
    """Sequences in pieces of at most num_steps each, as even as they can be.

    A model that is trained on pieces does not see what lies before their beginning.

    Raises:
        ValueError: if num_steps < 1.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}.")
    arrays = [np.asarray(s) for s in sequences]
    return [p for a in arrays for p in np.array_split(a, max(-(-len(a) // num_steps), 1))]


def buckets(sequences: Sequence[Any], num_buckets: int) -> list[tuple[np.ndarray, Padded]]:
    """Sequences in groups of like length, each padded to its own longest: few shapes to compile.

    The borders are those that need the least padding.

    Returns:
        (indices into `sequences`, the padded sequences) for each group, the shortest first; fewer
        groups if there are fewer lengths.

    Raises:
        ValueError: if num_buckets < 1, or `pad` refuses the sequences.
    """
    if num_buckets < 1:
        raise ValueError(f"num_buckets must be at least 1, got {num_buckets}.")
    lengths, counts = np.unique([len(s) for s in sequences], return_counts=True)
    limits = _borders(lengths, counts, min(num_buckets, len(lengths)))
    group = np.searchsorted(limits, [len(s) for s in sequences])
    result = []
    for i in range(len(limits)):
        chosen = np.flatnonzero(group == i)
        result.append((chosen, pad([sequences[j] for j in chosen.tolist()])))
    return result


def _borders(lengths: np.ndarray, counts: np.ndarray, num_buckets: int) -> np.ndarray:
    """The longest length of each bucket, by dynamic programming over sorted lengths."""
    size = len(lengths)
    before = np.concatenate([[0], np.cumsum(counts)])
    # Entry [i, j]: steps of a bucket with all lengths from number i to number j.
    steps = (before[None, 1:] - before[:-1, None]) * lengths[None].astype(float)
    steps[np.tri(size, k=-1, dtype=bool)] = np.inf
    least, starts = steps[0], []
    for _ in range(num_buckets - 1):
        total = np.concatenate([[np.inf], least[:-1]])[:, None] + steps
        starts.append(np.argmin(total, axis=0))
        least = np.min(total, axis=0)
    last, limits = size - 1, [lengths[-1]]
    for start in reversed(starts):
        last = start[last] - 1
        limits.append(lengths[last])
    return np.array(limits[::-1])
