"""Reader of IDX, the file format of MNIST and of the sets that copy it.

A file is two zero bytes, a code for the element type, the number of axes, each axis's length as
a big-endian uint32, and then the elements, big-endian, last axis fastest. It may be gzipped.
"""

import gzip
import io
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np

from genmix.data import deflate

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP_MAGIC = b"\x1f\x8b"
_MAX_AXES = 64  # numpy's own limit
_CHUNK = 1 << 20  # bytes; a reader sets aside what it is asked for, so it is asked for little


def read(path: str | os.PathLike[str]) -> np.ndarray:
    """The array in an IDX file, in native byte order; gzipped or not is seen from its first bytes.

    The file is not trusted: memory grows with the bytes that are really there, never beyond what
    the header announces, and a gzipped file must end with the checksum of its contents.

    Raises:
        ValueError: if the file is damaged, or says more or less than its header announces.
        OSError: if there is no such file, or it cannot be read.

    Source: LeCun, Cortes & Burges (1998), "The MNIST database", section "File formats".
    """
    path = Path(path)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        is_gzip = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        if not is_gzip:
            return _read_stream(path, file, size)
        try:
            with gzip.GzipFile(fileobj=file) as stream:
                return _read_stream(path, stream, deflate.max_expansion(size))
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path} is a damaged gzip file: {error}.") from error


def _read_stream(path: Path, stream: io.BufferedIOBase, limit: int) -> np.ndarray:
    """The array that `stream` spells; a header that announces over `limit` bytes is a lie."""
    dtype, shape = _read_header(path, stream)
    num_bytes = math.prod(shape) * dtype.itemsize
    if num_bytes > limit:
        raise ValueError(
            f"{path} announces {num_bytes} bytes of elements (shape {shape}, dtype {dtype}), "
            f"expected at most {limit}, which is all that a file of its size can hold."
        )
    payload = bytearray()
    while chunk := stream.read(min(_CHUNK, num_bytes - len(payload))):
        payload += chunk
    if len(payload) != num_bytes:
        raise ValueError(
            f"{path} is cut short: {len(payload)} bytes of elements, expected {num_bytes} "
            f"(shape {shape}, dtype {dtype})."
        )
    # Reading past the end is also what makes gzip compare its checksum.
    if stream.read(1):
        raise ValueError(
            f"{path} goes on after its last element, expected {num_bytes} bytes of elements "
            f"(shape {shape}, dtype {dtype}) and no more."
        )
    return np.frombuffer(payload, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _read_header(path: Path, stream: io.BufferedIOBase) -> tuple[np.dtype, tuple[int, ...]]:
    start = _read_exactly(path, stream, 4)
    zeros, code, num_axes = start[:2], start[2], start[3]
    if zeros != b"\0\0":
        raise ValueError(
            f"{path} is not an IDX file: it starts with bytes {start.hex(' ')}, expected 00 00."
        )
    if code not in _DTYPES:
        known = ", ".join(f"0x{known:02x}" for known in _DTYPES)
        raise ValueError(f"{path} has element type code 0x{code:02x}, expected one of {known}.")
    if not 1 <= num_axes <= _MAX_AXES:
        raise ValueError(f"{path} has {num_axes} axes, expected 1 to {_MAX_AXES}.")
    shape = struct.unpack(f">{num_axes}I", _read_exactly(path, stream, 4 * num_axes))
    if 0 in shape:
        raise ValueError(f"{path} has shape {shape}, expected every axis to be at least 1 long.")
    return np.dtype(_DTYPES[code]), shape


def _read_exactly(path: Path, stream: io.BufferedIOBase, num_bytes: int) -> bytes:
    found = stream.read(num_bytes)
    if len(found) != num_bytes:
        raise ValueError(
            f"{path} is cut short: its header has {num_bytes - len(found)} bytes too few."
        )
    return found
