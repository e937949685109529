import gzip
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genmix.data import idx

CODES = {"u1": 0x08, "i1": 0x09, ">i2": 0x0B, ">i4": 0x0C, ">f4": 0x0D, ">f8": 0x0E}


def encode(array, code=None, shape=None):
    shape = array.shape if shape is None else shape
    code = CODES[array.dtype.str.lstrip("|")] if code is None else code
    header = bytes([0, 0, code, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    return header + array.tobytes()


ARRAY = np.arange(24, dtype="u1").reshape(2, 3, 4)
VALID = encode(ARRAY)


def write(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_it_reads_what_was_written(tmp_path, dtype, pack):
    array = np.arange(12).reshape(3, 4).astype(dtype)
    got = idx.read(write(tmp_path, pack(encode(array))))
    np.testing.assert_array_equal(got, array)
    assert got.dtype == array.dtype.newbyteorder("=")


def flipped(content, place):
    damaged = bytearray(content)
    damaged[place] ^= 0x10
    return bytes(damaged)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is cut short: its header has 4 bytes too few"),
        (VALID[:7], "is cut short: its header has 9 bytes too few"),
        (VALID[:-1], "is cut short: 23 bytes of elements, expected 24"),
        (VALID + b"x", "goes on after its last element, expected 24 bytes"),
        (b"PNG" + VALID, "is not an IDX file: it starts with bytes 50 4e 47 00, expected 00 00"),
        (encode(ARRAY, code=0x07), "has element type code 0x07, expected one of 0x08, 0x09"),
        (bytes([0, 0, 8, 0]), "has 0 axes, expected 1 to 64"),
        (bytes([0, 0, 8, 65]), "has 65 axes, expected 1 to 64"),
        (encode(ARRAY, shape=(0, 3)), r"has shape \(0, 3\), expected every axis to be at least 1"),
        (encode(ARRAY, shape=(2**31, 2**31)), "announces 4611686018427387904 bytes of elements"),
        (gzip.compress(VALID, mtime=0)[:-3], "is a damaged gzip file: "),
        (flipped(gzip.compress(VALID, mtime=0), -6), "is a damaged gzip file: CRC check failed"),
        (gzip.compress(VALID + b"x", mtime=0), "goes on after its last element"),
        (
            gzip.compress(encode(ARRAY, shape=(2**30,)), mtime=0),
            "announces 1073741824 bytes of elements",
        ),
    ],
)
def test_damaged_files_are_refused(tmp_path, content, message):
    path = write(tmp_path, content)
    with pytest.raises(ValueError, match=message) as error:
        idx.read(path)
    assert str(path) in str(error.value)


def test_what_a_file_announces_is_not_set_aside(tmp_path):
    """A small gzip file that could hold 40 MB, and announces them, does not take them."""
    content = gzip.compress(encode(np.zeros(1, "u1"), shape=(40_000_000,)) + bytes(200_000))
    path = write(tmp_path, content + bytes(60_000))
    tracemalloc.start()
    with pytest.raises(ValueError, match="is"):
        idx.read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000


@settings(deadline=None, max_examples=200)
@given(
    place=st.integers(0, len(VALID) - 1),
    value=st.integers(0, 255),
    length=st.integers(0, len(VALID)),
    packed=st.booleans(),
)
def test_mutated_files_are_read_or_refused(tmp_path_factory, place, value, length, packed):
    content = bytearray(VALID)
    content[place] = value
    content = bytes(content[:length])
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(gzip.compress(content, mtime=0) if packed else content)
    try:
        assert idx.read(path).size <= len(VALID)
    except ValueError:
        pass


@settings(deadline=None, max_examples=200)
@given(content=st.binary(max_size=100), magic=st.sampled_from([b"", b"\x1f\x8b", b"\0\0\x08\x01"]))
def test_random_bytes_give_an_array_or_a_value_error(tmp_path_factory, content, magic):
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(magic + content)
    try:
        idx.read(path)
    except ValueError:
        pass


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        idx.read(tmp_path / "nothing")
