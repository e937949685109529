"""Ragged sequences: padding, pieces, buckets, archives, and the pianorolls."""

import itertools

import numpy as np
import pytest

from genmix.data import pianorolls, ragged

LENGTHS = (3, 9, 4, 10, 3)
SEQUENCES = [np.arange(2 * n, dtype=np.float32).reshape(n, 2) + n for n in LENGTHS]


def test_padding_keeps_the_steps_and_adds_zeros():
    padded = ragged.pad(SEQUENCES, 12)
    assert padded.values.shape == (5, 12, 2)
    np.testing.assert_array_equal(padded.length, LENGTHS)
    for row, sequence in zip(padded.values, SEQUENCES, strict=True):
        np.testing.assert_array_equal(row[: len(sequence)], sequence)
        assert not row[len(sequence) :].any()


def test_pieces_are_even_and_lose_nothing():
    pieces = ragged.cut(SEQUENCES, 4)
    assert [len(p) for p in pieces] == [3, 3, 3, 3, 4, 4, 3, 3, 3]
    np.testing.assert_array_equal(np.concatenate(pieces), np.concatenate(SEQUENCES))


@pytest.mark.parametrize("num_buckets", [1, 2, 3, 9])
def test_buckets_hold_every_sequence_once_with_the_least_padding(num_buckets):
    groups = ragged.buckets(SEQUENCES, num_buckets)
    assert sorted(np.concatenate([index for index, _ in groups])) == list(range(5))
    for index, padded in groups:
        for i, row, length in zip(index, padded.values, padded.length, strict=True):
            np.testing.assert_array_equal(row[:length], SEQUENCES[i])
    size = sum(padded.values.shape[0] * padded.values.shape[1] for _, padded in groups)
    lengths = sorted(set(LENGTHS))
    borders = itertools.combinations(lengths[:-1], min(num_buckets, len(lengths)) - 1)
    least = min(
        sum(min(b for b in (*chosen, lengths[-1]) if b >= n) for n in LENGTHS) for chosen in borders
    )
    assert size == least


def test_an_archive_of_ones_own_gives_back_what_was_written(tmp_path):
    bits = [(s > 5).astype(int) for s in SEQUENCES]
    ragged.write(tmp_path / "own.npz", bits=bits, reals=[s / 3 for s in SEQUENCES])
    for read, written in zip(ragged.read(tmp_path / "own.npz", "bits"), bits, strict=True):
        np.testing.assert_array_equal(read, written)
    for read, written in zip(ragged.read(tmp_path / "own.npz", "reals"), SEQUENCES, strict=True):
        np.testing.assert_array_equal(read, written / np.float32(3))


def test_rows_of_images():
    images = np.arange(24.0).reshape(2, 3, 2, 2)
    rows = ragged.image_rows(images)
    np.testing.assert_array_equal(rows[1, 2], images[1, 2].reshape(-1))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda tmp: ragged.pad([]), "needs at least one sequence"),
        (lambda tmp: ragged.pad([np.zeros((0, 2))]), "sequence 0 has no steps"),
        (lambda tmp: ragged.pad([np.zeros((1, 2)), np.zeros((1, 3))]), r"steps of shape \(3,\)"),
        (lambda tmp: ragged.pad(SEQUENCES, 9), "num_steps must be at least 10"),
        (lambda tmp: ragged.cut(SEQUENCES, 0), "num_steps must be at least 1"),
        (lambda tmp: ragged.buckets(SEQUENCES, 0), "num_buckets must be at least 1"),
        (lambda tmp: ragged.write(tmp / "x.npz", a=[]), "a must hold sequences"),
        (lambda tmp: ragged.split("x.npz", np.zeros((3, 2)), np.array([0, 3])), "from 1 on"),
        (lambda tmp: ragged.split("x.npz", np.zeros((3, 2)), np.array([1, 3])), "add up to 4"),
        (lambda tmp: ragged.image_rows(np.zeros((2, 3))), "images must have shape"),
        (lambda tmp: pianorolls.load("jsb", tmp), "no pianorolls 'jsb'; there are jsb-chorales"),
        (lambda tmp: pianorolls.load("musedata", None), "pianorolls/musedata.npz"),
    ],
)
def test_refusals_say_why(tmp_path, call, text):
    with pytest.raises(ValueError, match=text):
        call(tmp_path)


def test_lengths_that_overflow_are_refused(tmp_path):
    steps, lengths = np.zeros((4, 1), np.uint8), np.array([2**62, 2**62, 4, 2**63 - 8], np.int64)
    np.savez(tmp_path / "x.npz", a=steps, a_lengths=lengths)
    with pytest.raises(ValueError, match="lengths add up to"):
        ragged.read(tmp_path / "x.npz", "a")


def test_jsb_chorales(data_dir):
    chorales = pianorolls.load("jsb-chorales", data_dir)
    assert [len(split) for split in chorales[1:]] == [229, 76, 77]
    assert max(len(s) for s in chorales.train) == 129
    assert sum(len(s) for s in chorales.test) == 4725
    keys = np.concatenate(chorales.test)
    assert set(np.unique(keys)) == {0, 1}
    assert 3 < keys.sum(axis=1).mean() < 4.2  # four voices, some of which meet
