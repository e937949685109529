"""Reader of plain arrays in NPZ archives as `numpy.savez` and `numpy.savez_compressed` write them.

`numpy.load` evaluates the header of an array as a Python literal and sets memory aside for
whatever shape it names. The files here come from outside, so this reader recognises the one form
that numpy writes and compares every size with the bytes that the file really has, before it reads.
"""

import io
import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np

from genmix.data import deflate

_MAGIC = b"\x93NUMPY\x01\x00"  # version 1.0, which numpy uses for all headers below 64 KiB
_HEADER = re.compile(
    rb"\{'descr': '([^']*)', 'fortran_order': (True|False), "
    rb"'shape': \(([0-9]{1,18}(?:, [0-9]{1,18})*),?\), \} *\n"
)
# What zipfile is seen to raise on damaged or exotic archives, besides ValueError itself.
_ZIP_ERRORS = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError,
    OSError, OverflowError,
)  # fmt: skip


def read(
    path: str | os.PathLike[str], name: str, *, dtypes: Sequence[str] = ("uint8",)
) -> np.ndarray:
    """The array called `name` in an NPZ archive, of one of `dtypes`, whichever axis comes first.

    Raises:
        ValueError: if the archive is damaged, holds no such array, or the array is of another
            type (objects above all: nothing is unpickled), or of another size than it announces.
        OSError: if there is no such file, or it cannot be read.

    Source: numpy enhancement proposal 1, "A simple file format for NumPy arrays".
    """
    path = Path(path)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            with zipfile.ZipFile(file) as archive:
                member = _find_member(path, archive, name, size)
                with archive.open(member) as stream:
                    return _read_array(path, stream, member, dtypes)
        except _ZIP_ERRORS as error:
            raise ValueError(f"{path} is a damaged NPZ archive: {error}.") from error


def names(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Names of the arrays in an NPZ archive.

    Raises:
        ValueError: if the archive is damaged.
        OSError: if there is no such file, or it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(name.removesuffix(".npy") for name in archive.namelist())
    except _ZIP_ERRORS as error:
        raise ValueError(f"{path} is a damaged NPZ archive: {error}.") from error


def _find_member(
    path: Path, archive: zipfile.ZipFile, name: str, archive_size: int
) -> zipfile.ZipInfo:
    members = {info.filename: info for info in archive.infolist()}
    if f"{name}.npy" not in members:
        names = ", ".join(sorted(found.removesuffix(".npy") for found in members)) or "none"
        raise ValueError(f"{path} holds no array {name!r}; it holds {names}.")
    member = members[f"{name}.npy"]
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(
            f"{path}: array {name!r} is compressed by method {member.compress_type}, expected "
            f"{zipfile.ZIP_STORED} (stored) or {zipfile.ZIP_DEFLATED} (deflated)."
        )
    if member.compress_size > archive_size:
        raise ValueError(
            f"{path}: array {name!r} announces {member.compress_size} compressed bytes, expected "
            f"at most {archive_size}, the size of the whole file."
        )
    limit = deflate.max_expansion(member.compress_size)
    if member.file_size > limit:
        raise ValueError(
            f"{path}: array {name!r} announces {member.file_size} bytes, expected at most "
            f"{limit}, all that its {member.compress_size} compressed bytes can hold."
        )
    return member


def _read_array(
    path: Path,
    stream: IO[bytes] | io.BufferedIOBase,
    member: zipfile.ZipInfo,
    dtypes: Sequence[str],
) -> np.ndarray:
    start = stream.read(len(_MAGIC) + 2)
    if len(start) != len(_MAGIC) + 2 or not start.startswith(_MAGIC):
        raise ValueError(
            f"{path}: {member.filename} starts with bytes {start.hex(' ')}, expected "
            f"{_MAGIC.hex(' ')} (the .npy format, version 1.0) and two bytes of length."
        )
    (header_size,) = struct.unpack("<H", start[-2:])
    header = stream.read(header_size)
    shape, is_fortran, dtype = _parse_header(path, member.filename, header, dtypes)
    announced = math.prod(shape) * dtype.itemsize
    present = member.file_size - len(start) - header_size
    if announced != present:
        raise ValueError(
            f"{path}: {member.filename} has shape {shape} and {present} bytes of elements, "
            f"expected {announced}."
        )
    # The read that reaches the end is also the one that compares the archive's checksum.
    elements = np.frombuffer(bytearray(stream.read(announced)), dtype)
    return elements.reshape(shape, order="F" if is_fortran else "C")


def _parse_header(
    path: Path, file_name: str, header: bytes, dtypes: Sequence[str]
) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether the first axis is the fastest (Fortran order), and type."""
    match = _HEADER.fullmatch(header)
    if match is None:
        raise ValueError(
            f"{path}: {file_name} has the header {header[:100]!r}, expected that of a plain "
            "array as numpy writes it."
        )
    allowed = {dtype.newbyteorder("<").str: dtype for dtype in map(np.dtype, dtypes)}
    if (descr := match[1].decode("latin-1")) not in allowed:
        expected = " or ".join(f"{code!r} ({dtype.name})" for code, dtype in allowed.items())
        raise ValueError(f"{path}: {file_name} has dtype {descr!r}, expected {expected}.")
    shape = tuple(int(length) for length in match[3].split(b", "))
    if 0 in shape:
        raise ValueError(
            f"{path}: {file_name} has shape {shape}, expected every axis to be at least 1 long."
        )
    return shape, match[2] == b"True", np.dtype(descr)
