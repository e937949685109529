import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genmix.data import npz, packed

BITS = np.random.default_rng(0).integers(0, 2, (5, 12)).astype(np.uint8)
PACKED = np.packbits(BITS, axis=1)


def archive(compressed=True, **arrays):
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


VALID = archive(rows=PACKED, other=np.arange(3, dtype=np.uint8))


def write(tmp_path, content):
    path = tmp_path / "file.npz"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("order", ["C", "F"])
def test_it_reads_what_numpy_wrote(tmp_path, compressed, order):
    rows = np.asarray(PACKED, order=order)
    path = write(tmp_path, archive(compressed, rows=rows))
    np.testing.assert_array_equal(npz.read(path, "rows"), PACKED)
    np.testing.assert_array_equal(packed.read_bits(path, "rows", 12), BITS)


def with_member(content, name="rows.npy", method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        file.writestr(name, content)
    return buffer.getvalue()


def npy(header, payload=b"", version=b"\x01\x00"):
    header = header.encode()
    return b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header + payload


HEADER = "{'descr': '|u1', 'fortran_order': False, 'shape': (%s), }\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is a damaged NPZ archive"),
        (b"PK\x03\x04 and no more", "is a damaged NPZ archive"),
        (VALID[:-30], "is a damaged NPZ archive"),
        (archive(wrong=PACKED, more=PACKED), "holds no array 'rows'; it holds more, wrong"),
        (archive(rows=np.array([{}], object)), r"has dtype '\|O', expected '\|u1'"),
        (archive(rows=np.zeros(3, np.float32)), "has dtype '<f4', expected"),
        (archive(rows=np.zeros((0, 2), np.uint8)), r"has shape \(0, 2\), expected every axis"),
        (with_member(b"not numpy at all"), "starts with bytes 6e 6f 74"),
        (with_member(npy(HEADER % "3,", b"abc", b"\x02\x00")), "starts with bytes 93 4e"),
        (with_member(npy(HEADER % "9,", b"abc")), r"has shape \(9,\) and 3 bytes .* expected 9"),
        (with_member(npy(HEADER % "2,", b"abc")), r"has shape \(2,\) and 3 bytes .* expected 2"),
        (with_member(npy("__import__('os').system('true')")), 'has the header b"__import__'),
        (
            with_member(npy(HEADER % "3,", b"abc"), method=zipfile.ZIP_BZIP2),
            "compressed by method 12",
        ),
    ],
)
def test_damaged_archives_are_refused(tmp_path, content, message):
    path = write(tmp_path, content)
    with pytest.raises(ValueError, match=message) as error:
        npz.read(path, "rows")
    assert str(path) in str(error.value)


def test_a_directory_that_announces_too_much_is_refused(tmp_path):
    """The size in the archive's directory, enlarged beyond what its bytes could expand to."""
    content = bytearray(with_member(npy(HEADER % "3,", b"abc")))
    place = content.index(b"PK\x01\x02") + 24
    content[place : place + 4] = (2**31).to_bytes(4, "little")
    with pytest.raises(ValueError, match="announces 2147483648 bytes, expected at most"):
        npz.read(write(tmp_path, bytes(content)), "rows")


def test_rows_of_another_width_are_refused(tmp_path):
    path = write(tmp_path, VALID)
    with pytest.raises(ValueError, match=r"has shape \(5, 2\), expected \(rows, 3\): 20 bits"):
        packed.read_bits(path, "rows", 20)
    with pytest.raises(ValueError, match="has bits set after the first 9 of a row"):
        packed.read_bits(path, "rows", 9)
    with pytest.raises(ValueError, match="width must be at least 1, got 0"):
        packed.read_bits(path, "rows", 0)


@settings(deadline=None, max_examples=200)
@given(
    place=st.integers(0, len(VALID) - 1),
    value=st.integers(0, 255),
    length=st.one_of(st.just(len(VALID)), st.integers(0, len(VALID))),
)
def test_mutated_archives_give_an_array_or_a_value_error(tmp_path_factory, place, value, length):
    content = bytearray(VALID)
    content[place] = value
    path = tmp_path_factory.mktemp("npz") / "file.npz"
    path.write_bytes(bytes(content[:length]))
    try:
        assert npz.read(path, "rows").size <= 1024 * len(VALID)
    except ValueError:
        pass
