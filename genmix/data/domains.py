"""Two sets of images to translate between, without pairs: digits and their twins, and others."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from genmix.data import image_folder
from genmix.data.grey import Images

Batch = Float[np.ndarray, "n height width channels"]


class Domains(NamedTuple):
    """Images of two domains.

    Attributes:
        are_twins: whether each test image of the target is the twin of that of the source, with its
            label. Those to train on are twins of others than the source's.
    """

    source: Images
    target: Images
    are_twins: bool


def inverted(images: Batch) -> Batch:
    """Black where they are white."""
    return 1 - images


def rotated(images: Batch) -> Batch:
    """By a quarter, to the left."""
    return np.ascontiguousarray(np.rot90(images, axes=(1, 2)))


def thickened(images: Batch) -> Batch:
    """Each pixel is the lightest of itself and the pixels below, to the right, and of both."""
    _, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (0, 1), (0, 1), (0, 0)))
    moved = [padded[:, i : i + height, j : j + width] for i in (0, 1) for j in (0, 1)]
    return np.max(moved, axis=0)


TWINS: dict[str, Callable[[Batch], Batch]] = {
    "inverted": inverted,
    "rotated": rotated,
    "thickened": thickened,
}


def twins(images: Images, twin: Callable[[Batch], Batch]) -> Domains:
    """The first half of the training images, and twins of the second half.

    No image is in both, so nothing could be paired.
    """
    half = len(images.train) // 2
    train_labels, test_labels = images.labels
    source = images._replace(train=images.train[:half], labels=(train_labels[:half], test_labels))
    target = Images(
        train=twin(images.train[half : 2 * half]),
        test=twin(images.test),
        labels=(train_labels[half : 2 * half], test_labels),
    )
    return Domains(source, target, are_twins=True)


def between(source: Images, target: Images) -> Domains:
    """Two sets of images of one shape, cut to as many as the smaller one has.

    Raises:
        ValueError: if the images differ in shape.
    """
    if (a := source.train.shape[1:]) != (b := target.train.shape[1:]):
        raise ValueError(f"images of both domains must have one shape, got {a} and {b}.")
    cut = lambda images, n, m: Images(
        images.train[:n], images.test[:m], (images.labels[0][:n], images.labels[1][:m])
    )
    sizes = (
        min(len(source.train), len(target.train)),
        min(len(source.test), len(target.test)),
    )
    return Domains(cut(source, *sizes), cut(target, *sizes), are_twins=False)


def folders(source: Path, target: Path, *, side: int, channels: int = 3) -> Domains:
    """The images of two folders without labels, the last tenth of each to test on.

    Raises:
        ValueError: if a file is damaged, or a folder holds a single image.
        FileNotFoundError: if there is no such folder, or no image in it.
    """
    sets = []
    for folder in (source, target):
        images = image_folder.load(folder, side=side, channels=channels)
        if len(images) < 2:
            raise ValueError(f"{folder} holds one image, and one to test on is needed besides.")
        cut = len(images) - max(len(images) // 10, 1)
        none = np.zeros(0, np.int32)
        sets.append(Images(images[:cut], images[cut:], (none, none)))
    return between(*sets)
