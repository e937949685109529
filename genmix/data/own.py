"""Images of one's own: a folder of files, an NPZ archive, a table, or arrays."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from genmix.data import npz
from genmix.data.dataset import Dataset, checked

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
_MAX_BYTES = 8 * 2**30  # of images as float32; a set beyond it is one to stream


def of_arrays(
    train: np.ndarray,
    test: np.ndarray,
    *,
    name: str = "own images",
    train_labels: np.ndarray | None = None,
    test_labels: np.ndarray | None = None,
) -> Dataset:
    """Levels from arrays of bytes, or bits from arrays of zeros and ones.

    Args:
        train: [n, height, width, channels], or [n, height, width] of one channel.
        test: images that no training sees.

    Raises:
        ValueError: if values are no levels 0 .. 255, splits differ in size, or labels do not belong
            to their images.
    """
    images = {"train": np.asarray(train), "test": np.asarray(test)}
    for split, x in images.items():
        if x.ndim not in (3, 4):
            raise ValueError(
                f"{split} must be images [n, height, width] or [n, height, width, channels], got "
                f"shape {x.shape}; fit takes arrays of any other shape as they are."
            )
        if x.dtype != bool and not np.all((x == np.round(x)) & (x >= 0) & (x <= 255)):
            raise ValueError(
                f"{split} must hold whole levels from 0 to 255, got values from {x.min()} to "
                f"{x.max()}: fractions in [0, 1] are levels / 255; multiply them, and round."
            )
        images[split] = x.astype(np.float32).reshape(*x.shape[:3], -1)
    labels = {"train": train_labels, "test": test_labels}
    whole = {k: None if v is None else np.asarray(v).astype(np.int32) for k, v in labels.items()}
    is_binary = max(np.max(x, initial=0) for x in images.values()) <= 1
    return checked(
        Dataset(
            name=name,
            train=images["train"],
            valid=images["train"][:0],
            test=images["test"],
            train_labels=whole["train"],
            valid_labels=None if whole["train"] is None else whole["train"][:0],
            test_labels=whole["test"],
            num_levels=2 if is_binary else 256,
            binarization="static" if is_binary else "none",
        )
    )


def load_archive(path: str | Path) -> Dataset:
    """An NPZ archive of arrays "train" and "test", and "train_labels" and "test_labels" or none.

    Images are uint8 or bool, labels integers.

    Raises:
        ValueError: if an array is not there, or is not of images or labels.
        FileNotFoundError: if there is no such file.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: npz:FILE names an archive of numpy.savez.")
    images = [npz.read(path, split, dtypes=("uint8", "bool")) for split in ("train", "test")]
    integers = ("uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64")
    names = npz.names(path)
    train_labels, test_labels = (
        npz.read(path, name, dtypes=integers) if name in names else None
        for name in ("train_labels", "test_labels")
    )
    return of_arrays(
        *images, name=f"npz:{path.name}", train_labels=train_labels, test_labels=test_labels
    )


def load_table(path: str | Path) -> Dataset:
    """A CSV file with an image a row: whole levels of the pixels, row by row, and maybe a label.

    The first line names the columns if it holds anything but numbers; a column "label" or "class"
    is the labels. Images are square, of one channel, or of three where that is what fits. Every
    tenth row is a test image.

    Raises:
        ValueError: if a field is no number, a label is not whole, the rows are no square images, or
            there are fewer than two.
        FileNotFoundError: if there is no such file.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: csv:FILE names a table of images.")
    with path.open(encoding="utf-8-sig") as file:
        first = [field.strip().strip('"').lower() for field in file.readline().split(",")]
    has_names = not all(map(_is_number, first))
    try:
        table = np.loadtxt(
            path, np.float32, delimiter=",", skiprows=int(has_names), ndmin=2, encoding="utf-8-sig"
        )
    except ValueError as error:
        raise ValueError(f"{path} is no table of numbers: {error}.") from error
    columns = [i for i, name in enumerate(first) if has_names and name in ("label", "class")]
    labels = table[:, columns[0]] if columns else None
    if labels is not None and not np.all(labels == np.round(labels)):
        raise ValueError(f"{path} has labels that are no whole numbers, such as {labels[0]}.")
    pixels = np.delete(table, columns, axis=1)
    count = pixels.shape[1]
    channels = next((c for c in (1, 3) if math.isqrt(count // c) ** 2 * c == count), None)
    if channels is None or len(pixels) < 2:
        raise ValueError(
            f"{path} has {len(pixels)} rows of {count} pixels: at least two square images are "
            "needed, of one channel or of three. Other tables go to fit as arrays."
        )
    side = math.isqrt(count // channels)
    images = pixels.reshape(len(pixels), side, side, channels)
    held_out = (
        np.arange(len(images)) % 10 == 9
        if len(images) > 9
        else np.arange(len(images)) == len(images) - 1
    )
    parts = [None if labels is None else labels[which] for which in (~held_out, held_out)]
    return of_arrays(
        images[~held_out],
        images[held_out],
        name=f"csv:{path.name}",
        train_labels=parts[0],
        test_labels=parts[1],
    )


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def load_folder(path: str | Path) -> Dataset:
    """Pictures of one size, as levels 0 .. 255 of one or three channels.

    Files may lie in folders of their classes, which are then labels in the order of their names. A
    folder "test" beside "train" holds the test images; otherwise every tenth file, in the order of
    names, is one.

    Raises:
        ValueError: if a file is no picture, or of another size than the first, or there are fewer
            than two.
        FileNotFoundError: if there is no such folder.
    """
    path = Path(path).expanduser()
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is no folder: images:FOLDER names one of pictures.")
    if (path / "train").is_dir() and (path / "test").is_dir():
        train, test = _files(path / "train"), _files(path / "test")
        roots = path / "train", path / "test"
    else:
        files, roots = _files(path), (path, path)
        test = files[9::10] if len(files) > 9 else files[-1:]
        held_out = set(test)
        train = [file for file in files if file not in held_out]
    if not train or not test:
        raise ValueError(
            f"{path} holds {len(train)} pictures to train on and {len(test)} to test on, and needs "
            f"at least one of each ({', '.join(_SUFFIXES)})."
        )
    classes = sorted({_class(file, root) for file, root in _rooted(train, test, roots)} - {""})
    labels = [
        np.array([classes.index(_class(file, root)) for file in files], np.int32)
        if classes and all(_class(file, root) for file in files)
        else None
        for files, root in zip((train, test), roots, strict=True)
    ]
    images = _read([*train, *test])
    return of_arrays(
        images[: len(train)],
        images[len(train) :],
        name=f"images:{path.name}",
        train_labels=labels[0],
        test_labels=labels[1],
    )


def _rooted(
    train: Sequence[Path], test: Sequence[Path], roots: tuple[Path, Path]
) -> list[tuple[Path, Path]]:
    return [(file, roots[0]) for file in train] + [(file, roots[1]) for file in test]


def _class(file: Path, root: Path) -> str:
    """The folder that a file lies in; "" is the set's own."""
    return "" if file.parent == root else file.parent.relative_to(root).as_posix()


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in _SUFFIXES)


def _read(files: Sequence[Path]) -> np.ndarray:
    first = _open(files[0])
    if first.size * len(files) * 4 > _MAX_BYTES:
        raise ValueError(
            f"{len(files)} pictures of {first.shape} take more than 8 GiB: make a Stream of them "
            "(docs/data.md)."
        )
    images = np.empty((len(files), *first.shape), np.uint8)
    for i, file in enumerate(files):
        image = first if i == 0 else _open(file)
        if image.shape != first.shape:
            raise ValueError(
                f"{file} is {image.shape}, and {files[0]} is {first.shape} (height, width, "
                "channels): all pictures must be of one size; resize or crop them first."
            )
        images[i] = image
    return images


def _open(file: Path) -> np.ndarray:
    """[height, width, channels]; what is not grey is made red, green and blue."""
    try:
        with Image.open(file) as image:
            grey = image.mode in ("1", "L")
            pixels = np.asarray(image.convert("L" if grey else "RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{file} is no picture that can be read: {error}.") from error
    return pixels.reshape(*pixels.shape[:2], -1)
