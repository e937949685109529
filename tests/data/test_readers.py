"""Files from outside, damaged in every way that can be drawn: read right, or refused by name.

A valid file is overwritten in places, cut, lengthened or replaced, and read. What comes back has
what the file declares; what is refused is refused with a ValueError or a FileNotFoundError that
names the file; and no reader sets aside much more memory than the file has bytes.
"""

import gzip
import io
import json
import pickle
import re
import shutil
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from genmix.data import deflate, idx, npz, packed
from genmix.runs import run_directory
from genmix.runs.checkpoints import Checkpoints
from genmix.runs.run_log import RunLog, read_metrics

ROWS = np.random.default_rng(0).integers(0, 2, (40, 12)).astype(np.uint8)
SLACK = 1 << 21  # bytes that a reader may take whatever the file: a chunk, modules, messages
NUMBERS = st.one_of(
    st.integers(0, 255).map(lambda n: bytes([n])),
    st.sampled_from([b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0" * 4, b"\xff" * 8, b"(", b"'", b"9"]),
    st.binary(min_size=1, max_size=6),
)
LARGER = st.integers(1, 2**32 - 1)


def npz_bytes(save: Callable, **arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    save(buffer, **arrays)
    return buffer.getvalue()


def idx_bytes(array: np.ndarray, shape: tuple[int, ...] | None = None) -> bytes:
    shape = array.shape if shape is None else shape
    return bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + array.tobytes()


IDX = idx_bytes(ROWS)
NPZ = npz_bytes(np.savez, rows=np.packbits(ROWS, axis=1))
SMALL_NPZ = npz_bytes(np.savez_compressed, rows=np.packbits(ROWS, axis=1))


@st.composite
def damaged(draw: Callable, content: bytes) -> bytes:
    """A file with bytes overwritten, inserted or left out, cut off, or with bytes after its end."""
    result = bytearray(content)
    for _ in range(draw(st.integers(0, 3))):
        place, new = draw(st.integers(0, len(result))), draw(NUMBERS)
        result[place : place + draw(st.sampled_from([0, len(new)]))] = new
    start = draw(st.sampled_from([0] * 8 + [1, 4]))
    end = draw(st.one_of(st.just(len(result)), st.integers(0, len(result))))
    return bytes(result[start:end]) + draw(
        st.sampled_from([b""] * 6 + [b"\0", b"PK\x05\x06", b"\n"])
    )


def read(reader: Callable[[Path], Any], path: Path, *, limit: int) -> Any:
    """What a reader makes of a file, or None if it refuses it as it should."""
    result, refusal = None, str(path)
    tracemalloc.start()
    try:
        result = reader(path)
    except (ValueError, FileNotFoundError) as error:
        refusal = str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert str(path) in refusal
    assert peak < limit + SLACK, f"{peak} bytes for a file of {path.stat().st_size}"
    return result


def placed(folder: Any, content: bytes) -> Path:
    path = folder.mktemp("read") / "file.bin"
    path.write_bytes(content)
    return path


@settings(deadline=None, max_examples=300)
@given(st.one_of(damaged(IDX), damaged(IDX).map(gzip.compress), damaged(gzip.compress(IDX))))
def test_idx(tmp_path_factory, content):
    path = placed(tmp_path_factory, content)
    array = read(idx.read, path, limit=4 * deflate.max_expansion(len(content)))
    if array is not None:
        inside = content
        if content[:2] == b"\x1f\x8b":
            inside = gzip.decompress(content)
        assert array.ndim == inside[3]
        assert array.shape == struct.unpack_from(f">{array.ndim}I", inside, 4)
        assert array.nbytes == len(inside) - 4 - 4 * array.ndim


@settings(deadline=None, max_examples=100)
@given(st.lists(LARGER, min_size=1, max_size=4), st.booleans())
def test_idx_that_declares_more_than_it_has(tmp_path_factory, shape, packs):
    content = idx_bytes(ROWS, tuple(shape))
    path = placed(tmp_path_factory, gzip.compress(content) if packs else content)
    array = read(idx.read, path, limit=8 * len(content))
    assert array is None or array.shape == tuple(shape)


@settings(deadline=None, max_examples=300)
@given(st.one_of(damaged(NPZ), damaged(SMALL_NPZ)))
def test_npz(tmp_path_factory, content):
    path = placed(tmp_path_factory, content)
    read_rows = lambda path: npz.read(path, "rows")
    limit = 4 * deflate.max_expansion(len(content))
    array = read(read_rows, path, limit=limit)
    if array is not None:
        assert array.dtype == np.uint8
        assert 0 < array.nbytes <= deflate.max_expansion(len(content))
    bits = read(lambda path: packed.read_bits(path, "rows", ROWS.shape[1]), path, limit=8 * limit)
    if bits is not None:
        assert bits.shape[1] == ROWS.shape[1]
        assert set(np.unique(bits)) <= {0, 1}


def npy(shape: str, payload: bytes, descr: str = "|u1") -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + payload


def archive_of(member: bytes, *, sizes: tuple[int, int] | None = None) -> bytes:
    """A stored member, whose compressed and full size the archive may declare to be others."""
    name, checksum = b"rows.npy", zlib.crc32(member)
    declared = sizes or (len(member), len(member))
    fields = struct.pack("<HHHHHIII", 20, 0, 0, 0, 33, checksum, *declared)
    local = b"PK\x03\x04" + fields + struct.pack("<HH", len(name), 0) + name + member
    entry = (
        b"PK\x01\x02" + b"\x14\0" + fields + struct.pack("<HHHHHII", len(name), 0, 0, 0, 0, 0, 0)
    )
    directory = entry + name
    tail = struct.pack("<HHHHIIH", 0, 0, 1, 1, len(directory), len(local), 0)
    return local + directory + b"PK\x05\x06" + tail


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.integers(0, 10**18 - 1), min_size=1, max_size=4),
    st.one_of(st.none(), st.tuples(LARGER, LARGER)),
)
def test_npz_that_declares_more_than_it_has(tmp_path_factory, shape, sizes):
    member = npy("".join(f"{n}, " for n in shape).removesuffix(" "), ROWS.tobytes())
    path = placed(tmp_path_factory, archive_of(member, sizes=sizes))
    array = read(lambda path: npz.read(path, "rows"), path, limit=8 * len(member))
    assert array is None or array.shape == tuple(shape)


def test_the_archive_made_here_is_read(tmp_path):
    path = tmp_path / "file.npz"
    path.write_bytes(archive_of(npy("40, 12", ROWS.tobytes())))
    np.testing.assert_array_equal(npz.read(path, "rows"), ROWS)


class Explosive:
    """What a pickle can do to who loads it."""

    def __reduce__(self):
        return pytest.fail, ("a pickle was loaded",)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Explosive()),
        archive_of(npy("1,", pickle.dumps(Explosive()), "|O")),
        npz_bytes(np.savez, rows=np.array([Explosive()], object)),
        npz_bytes(np.savez, rows=np.zeros(3, [("a", object)])),
    ],
)
@pytest.mark.parametrize(
    "reader",
    [
        idx.read,
        lambda path: npz.read(path, "rows"),
        lambda path: packed.read_bits(path, "rows", 12),
        read_metrics,
        lambda path: run_directory.prepare(path.parent, {}, resume=True),
    ],
)
def test_no_pickle_is_loaded(tmp_path, content, reader):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    if reader is read_metrics and b"\n" not in content:
        assert reader(path) == {}  # as a line that is not complete
    else:
        with pytest.raises(ValueError, match=re.escape(str(path))):
            reader(path)


CONFIG = b'{"steps": 5, "k": [1, 5], "train": {"rate": 0.1, "name": "caf\xc3\xa9"}, "out": null}\n'
METRICS = b"".join(
    json.dumps({"step": step, "time": 0.5 * step, "elbo": -1.5, "rate": "NaN"}).encode() + b"\n"
    for step in range(4)
)
DEEP = b"[" * 100_000


@settings(deadline=None, max_examples=250)
@given(st.one_of(damaged(CONFIG), st.binary(max_size=50)))
@example(b"9" * 5_000)
def test_config(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("run") / "config.json"
    path.write_bytes(content)
    refusal = None
    try:
        run_directory.prepare(path.parent, json.loads(CONFIG), resume=True)
    except ValueError as error:
        refusal = str(error)
    if refusal is None:
        assert json.loads(path.read_bytes()) == json.loads(CONFIG)
    else:
        is_other = refusal.startswith(f"The run in {path.parent} was started with another")
        assert is_other or str(path) in refusal
        assert path.read_bytes() == content


def test_a_config_of_many_brackets(tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(DEEP)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        run_directory.prepare(tmp_path, {}, resume=True)


@settings(deadline=None, max_examples=250)
@given(st.one_of(damaged(METRICS), st.binary(max_size=50)))
def test_metrics(tmp_path_factory, content):
    path = placed(tmp_path_factory, content)
    columns = read(read_metrics, path, limit=200 * len(content))
    for steps, values in (columns or {}).values():
        assert steps.dtype == np.int64
        assert values.dtype == np.float64
        assert len(steps) == len(values)


@pytest.mark.parametrize(
    "line",
    [DEEP, b'{"step": 1, "time": %s}' % (b"9" * 400), b'{"step": %s, "time": 1}' % (b"9" * 20)],
    ids=["brackets", "time", "step"],
)
def test_metrics_beyond_what_numbers_hold(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(line + b"\n" + METRICS)
    with pytest.raises(ValueError, match=re.escape(f"{path}, line 1, is not a line of metrics")):
        read_metrics(path)


@settings(deadline=None, max_examples=30)
@given(damaged(METRICS))
def test_a_log_that_is_resumed(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("log")
    path = folder / "metrics.jsonl"
    path.write_bytes(content)
    refusal = None
    try:
        with RunLog(folder, resume_step=2) as log:
            log.write(3, {"elbo": 1.0})
    except ValueError as error:
        refusal = str(error)
    if refusal is None:
        assert read_metrics(path)["elbo"][0][-1] == 3
    else:
        assert str(path) in refusal
        assert path.read_bytes() == content


STATE = {"w": jnp.arange(6.0), "n": np.arange(3)}
LIKE = {"w": jnp.zeros(6), "n": np.zeros(3, np.int64)}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "run"
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(1, STATE)
    return folder


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_checkpoint(tmp_path_factory, checkpoint, data):
    folder = tmp_path_factory.mktemp("restored") / "run"
    shutil.copytree(checkpoint, folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = files[data.draw(st.integers(0, len(files) - 1), label="file")]
    content = path.read_bytes()
    path.write_bytes(data.draw(damaged(content)))
    refusal, restored = str(folder), STATE
    with Checkpoints(folder) as checkpoints:
        try:
            _, restored = checkpoints.restore(LIKE)
        except (ValueError, FileNotFoundError) as error:
            refusal = str(error)
    assert str(folder) in refusal
    np.testing.assert_array_equal(restored["w"], STATE["w"])
    np.testing.assert_array_equal(restored["n"], STATE["n"])


def seal_with(change: Callable[[dict], object], text: str) -> str:
    """A seal that says other things, with the right checksum: written on purpose, not by chance."""
    record = json.loads(text.partition("\n")[2])
    change(record)
    changed = json.dumps(record)
    return f"{zlib.crc32(changed.encode()):08x}\n{changed}"


LIES: dict[str, Callable[[dict], object]] = {
    "no files": lambda record: record.pop("files"),
    "no leaves": lambda record: record.pop("leaves"),
    "no score": lambda record: record.pop("score"),
    "files of another type": lambda record: record.update(files=[]),
    "a file elsewhere": lambda record: record.update(files={"../../../etc/passwd": [1, 1]}),
    "leaves of another type": lambda record: record.update(leaves=None),
    "a leaf too large": lambda record: record.update(leaves={"['w']": "float32[1000000000000]"}),
    "a score in words": lambda record: record.update(score="best"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_seal_that_lies(tmp_path, checkpoint, lie):
    folder = tmp_path / "run"
    shutil.copytree(checkpoint, folder)
    seal = folder / "1" / "seal.txt"
    seal.write_text(seal_with(LIES[lie], seal.read_text()))
    with Checkpoints(folder) as checkpoints:
        with pytest.raises(ValueError, match=re.escape(str(folder))):
            checkpoints.restore(LIKE)
