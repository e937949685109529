"""Binary rows stored eight to a byte, as `numpy.packbits(rows, axis=1)` packs them, in an NPZ."""

import os
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from genmix.data import npz


def read_bits(
    path: str | os.PathLike[str], name: str, width: int
) -> UInt8[np.ndarray, "rows width"]:
    """The rows called `name`, `width` zeros and ones each, of an NPZ archive.

    Raises:
        ValueError: if `npz.read` refuses the file, or its rows are not `width` bits wide.
        OSError: if there is no such file, or it cannot be read.
    """
    path = Path(path)
    if width < 1:
        raise ValueError(f"width must be at least 1, got {width}.")
    packed = npz.read(path, name)
    num_bytes = -(-width // 8)
    if packed.ndim != 2 or packed.shape[1] != num_bytes:
        raise ValueError(
            f"{path}: array {name!r} has shape {packed.shape}, expected (rows, {num_bytes}): "
            f"{width} bits a row."
        )
    bits = np.unpackbits(packed, axis=1)
    if bits[:, width:].any():
        raise ValueError(
            f"{path}: array {name!r} has bits set after the first {width} of a row, expected "
            "zeros there."
        )
    return bits[:, :width]
