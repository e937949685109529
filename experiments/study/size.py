"""Sizes of networks, by those of the images that they are for."""

import math
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def by_size(shape: Sequence[int], small: T, large: T) -> T:
    """What is for images such as the digits of 8x8, or for larger ones such as MNIST's."""
    return small if math.prod(shape) < 500 else large
