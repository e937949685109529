import json
import subprocess
import sys
import threading
from itertools import islice
from typing import Any

import jax
import numpy as np
import pytest

from genmix.data.stream import Stream

NUM_EXAMPLES = 23
BATCH_SIZE = 5
IMAGES = np.arange(NUM_EXAMPLES * 4, dtype=np.uint8).reshape(NUM_EXAMPLES, 2, 2)
LABELS = np.arange(NUM_EXAMPLES, dtype=np.int32)


class OneByOne:
    """A source without bulk reads; it remembers who read."""

    def __init__(self):
        self.readers = set()

    def __len__(self):
        return NUM_EXAMPLES

    def __getitem__(self, index):
        self.readers.add(threading.get_ident())
        return {"image": IMAGES[index], "label": int(LABELS[index])}


class Together(OneByOne):
    """A source with bulk reads alone."""

    def __getitem__(self, index):
        raise AssertionError("this source reads many at once")

    def __getitems__(self, indices):
        return [{"image": IMAGES[i], "label": int(LABELS[i])} for i in indices]


def make(source: Any = LABELS, **options: Any) -> Stream:
    options = {"batch_size": BATCH_SIZE, "seed": 7} | options
    return Stream(source, **options)


def read(stream, num_blocks, num_batches):
    """Blocks joined along the axis of batches."""
    blocks = stream.blocks(num_batches)
    taken = list(islice(blocks, num_blocks))
    blocks.close()
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *taken)


def assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_every_epoch_is_a_new_permutation_and_batches_straddle_epochs():
    drawn = read(make(), num_blocks=NUM_EXAMPLES, num_batches=1).reshape(BATCH_SIZE, NUM_EXAMPLES)
    for epoch in drawn:
        np.testing.assert_array_equal(np.sort(epoch), LABELS)
    assert len({tuple(epoch) for epoch in [LABELS, *drawn]}) == BATCH_SIZE + 1


def test_a_block_may_span_several_epochs():
    whole = read(make(), num_blocks=1, num_batches=NUM_EXAMPLES)
    assert whole.shape == (NUM_EXAMPLES, BATCH_SIZE)
    assert_same(whole, read(make(), num_blocks=NUM_EXAMPLES, num_batches=1))


def test_the_order_depends_on_the_seed_alone():
    assert_same(read(make(), 2, 3), read(make(), 2, 3))
    assert not np.array_equal(read(make(), 2, 3), read(make(seed=8), 2, 3))
    # Epoch e of seed s must not be epoch e - 1 of seed s + 1.
    first, second = read(make(batch_size=NUM_EXAMPLES), 1, 2)
    assert not np.array_equal(second, read(make(batch_size=NUM_EXAMPLES, seed=8), 1, 1)[0])
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("prefetch", [0, 1, 4])
def test_reading_ahead_changes_nothing(prefetch):
    assert_same(read(make(prefetch=prefetch), 5, 2), read(make(), 5, 2))


@pytest.mark.slow
@pytest.mark.parametrize("prefetch", [0, 3])
def test_worker_processes_change_nothing(prefetch):
    workers = make(OneByOne(), num_workers=2, prefetch=prefetch)
    assert_same(read(workers, 5, 2), read(make(OneByOne()), 5, 2))


@pytest.mark.slow
def test_errors_of_worker_processes_come_through():
    source = [np.zeros(2)] * 4 + [np.zeros(3)] * 4
    with pytest.raises(ValueError, match="must have one structure and one shape"):
        next(make(source, num_workers=1).blocks(2))


def test_all_kinds_of_sources_give_the_same_batches(tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    expected = read(make({"image": IMAGES, "label": LABELS}), 2, 3)
    assert expected["image"].shape == (6, BATCH_SIZE, 2, 2)
    assert expected["image"].dtype == np.uint8
    np.testing.assert_array_equal(expected["image"], IMAGES[expected["label"]])
    assert_same(read(make({"image": mapped, "label": LABELS}), 2, 3), expected)
    assert_same(read(make(mapped), 2, 3), expected["image"])
    assert type(read(make(mapped), 1, 1)) is np.ndarray
    assert_same(read(make((IMAGES, LABELS)), 2, 3), (expected["image"], expected["label"]))
    assert_same(read(make(list(IMAGES)), 2, 3), expected["image"])
    assert_same(read(make(OneByOne()), 2, 3), expected)
    assert_same(read(make(Together()), 2, 3), expected)


def test_threads_read_in_the_background_and_end_when_closed():
    source = OneByOne()
    stream = make(source)
    source.readers.clear()  # the constructor looks at the first example
    blocks = stream.blocks(2)
    next(blocks)
    assert source.readers
    assert threading.get_ident() not in source.readers
    blocks.close()
    for thread in threading.enumerate():
        if thread.name.startswith("grain-prefetch"):
            thread.join(timeout=10)
            assert not thread.is_alive()


def test_processes_share_every_batch():
    parts = [read(make(batch_size=6, shard=(index, 3)), 2, 3) for index in range(3)]
    assert parts[0].shape == (6, 2)
    assert_same(np.concatenate(parts, axis=1), read(make(batch_size=6), 2, 3))


@pytest.mark.parametrize("done", [0, 1, 3])
def test_restored_streams_go_on_bitwise(done):
    stream = make(prefetch=3)
    blocks = stream.blocks(4)
    for _ in range(done):
        next(blocks)
    position = json.loads(json.dumps(stream.position()))
    assert position["next_batch"] == 4 * done  # not what was read ahead
    expected = np.concatenate([next(blocks), next(blocks)])
    resumed = make()
    resumed.restore(position)
    assert_same(read(resumed, 4, 2), expected)
    assert resumed.position() == stream.position()
    stream.restore(position)
    assert_same(read(stream, 1, 8), expected)


def test_a_position_may_be_restored_with_other_processes():
    stream = make(batch_size=6)
    read(stream, 2, 2)
    part = make(batch_size=6, shard=(1, 2))
    part.restore(stream.position())
    assert_same(read(part, 1, 3), read(stream, 1, 3)[:, 3:])


def test_blocks_that_the_stream_has_left_behind_are_refused():
    stream = make()
    start = stream.position()
    early, late = stream.blocks(2), stream.blocks(1)
    next(early)
    with pytest.raises(RuntimeError, match=r"go on at batch 0, but the stream .* moved to batch 2"):
        next(late)
    stream.restore(start)
    with pytest.raises(RuntimeError, match=r"go on at batch 2, but the stream .* moved to batch 0"):
        next(early)


@pytest.mark.parametrize(
    "change",
    [
        lambda p: None,
        lambda p: [1, 2],
        lambda p: {},
        lambda p: {name: value for name, value in p.items() if name != "next_batch"},
        lambda p: p | {"more": 1},
        lambda p: p | {"next_batch": "2"},
        lambda p: p | {"next_batch": 2.0},
        lambda p: p | {"next_batch": -2},
        lambda p: p | {"next_batch": 3},
        lambda p: p | {"next_batch": 10**30},
        lambda p: p | {"next_examples": p["next_examples"] ^ 1},
    ],
)
def test_damaged_positions_are_refused(change):
    stream = make()
    read(stream, 1, 2)
    with pytest.raises(ValueError, match="the position is damaged"):
        stream.restore(change(stream.position()))
    assert stream.position()["next_batch"] == 2


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (lambda: make(seed=8), "its seed is 8, here it is 7"),
        (lambda: make(batch_size=6), "its batch_size is 6, here it is 5"),
        (lambda: make(LABELS[:-1]), "its num_examples is 22, here it is 23"),
        (lambda: make(np.maximum(LABELS, 1)), "the first example of the data differs"),
        (lambda: make(LABELS.view(np.float32)), "the first example of the data differs"),
        (lambda: make(LABELS[:, None]), "the first example of the data differs"),
        (lambda: make({"label": LABELS}), "the first example of the data differs"),
    ],
)
def test_positions_of_other_streams_are_refused(other, reason):
    with pytest.raises(ValueError, match=f"position is one in another stream: {reason}"):
        make().restore(other().position())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be between 1 and the number of examples, 23; got 0"),
        ({"batch_size": 24}, "batch_size must be between 1 and .* 23; got 24"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"num_workers": -1}, "num_workers must be at least 0, got -1"),
        ({"prefetch": -1}, "prefetch must be at least 0, got -1"),
        ({"shard": (1, 1)}, r"shard must be \(index, count\) with .* got \(1, 1\)"),
        ({"shard": (-1, 5)}, r"shard must be .* got \(-1, 5\)"),
        ({"shard": (0, 2)}, "count must divide batch_size, 5"),
        ({"num_workers": 1}, "arrays are read by threads, .* num_workers must be 0, got 1"),
        (
            {"source": (LABELS, LABELS[1:])},
            r"got source\[0\] 23, source\[1\] 22",
        ),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


@pytest.mark.parametrize("source", [{}, {"x": [1, 2]}, {"x": np.float32(1)}])
def test_containers_of_something_else_than_arrays_are_refused(source):
    with pytest.raises(TypeError, match="a dict or tuple as a source must hold NumPy arrays"):
        make(source)


def test_a_list_of_examples_is_not_read_row_by_row():
    with pytest.raises(TypeError, match=r"but a list is in it: make one array .* numpy\.stack"):
        make({"image": [np.zeros((8, 3))] * 23})


def test_masked_entries_are_not_read_as_data():
    whole, mask = np.zeros((23, 2)), np.arange(46).reshape(23, 2) == 45
    masked = np.ma.masked_array(whole, mask)
    for source in (masked, {"x": masked}):
        with pytest.raises(ValueError, match=r"source.* has masked entries, .* \(array\.filled"):
            make(source)
    blocks = make(list(masked), batch_size=23).blocks(1)
    with pytest.raises(ValueError, match="a batch of the source has masked entries"):
        next(blocks)
    unmasked = np.ma.masked_array(whole, False)
    np.testing.assert_array_equal(next(make(unmasked).blocks(1)), np.zeros((1, 5, 2)))
    np.testing.assert_array_equal(next(make(list(unmasked)).blocks(1)), np.zeros((1, 5, 2)))


@pytest.mark.parametrize(
    "value", [b"bytes", "text", np.array(["text"]), np.datetime64("2020-01-01")]
)
def test_examples_that_are_no_numbers_are_refused(value):
    with pytest.raises(TypeError, match=r"must hold numbers, but example 0\['name'\] is of"):
        make([{"x": 1, "name": value}] * 9)


def test_examples_of_several_shapes_are_refused():
    shapes = [np.zeros(2)] * 4 + [np.zeros(3)] * 4
    with pytest.raises(ValueError, match="must have one structure and one shape; crop, resize"):
        next(make(shapes).blocks(2))
    with pytest.raises(ValueError, match="must have one structure and one shape; crop, resize"):
        next(make([{"x": 1}] * 4 + [{"y": 1}] * 4).blocks(2))


def test_blocks_need_a_batch():
    with pytest.raises(ValueError, match="num_batches must be at least 1, got 0"):
        make().blocks(0)


def test_importing_the_data_package_imports_neither_grain_nor_tfds():
    program = (
        "import sys, genmix.data, genmix.data.stream, genmix.data.tfds_source;"
        "print({'grain', 'tensorflow', 'tensorflow_datasets'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
