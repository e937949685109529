"""Copies are told from other events of the same distribution."""

import numpy as np
import pytest

from genmix.evaluation import copying

RNG = np.random.default_rng(0)


def test_copies_other_events_and_bad_ones():
    train, test, other = (RNG.normal(size=(400, 3, 2)) for _ in range(3))
    # 4 deviations of a rank statistic of 400 and 400: a false alarm in 16,000.
    assert copying(train, test, other) == pytest.approx(0.5, abs=4 * np.sqrt(1 / 12 / 200))
    assert copying(train, test, train[:50]) == 1.0
    assert copying(train, test, other + 9.0) == 0.0
    assert copying(train, test, test) == 0.5
    assert copying(train, test, other, rows_per_chunk=7) == copying(train, test, other)


def test_what_is_no_event_is_refused():
    x = np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"samples must be .* of shape \(3,\), .* got \(2, 4\)"):
        copying(x, x, np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"test must be .* not all finite"):
        copying(x, np.full((2, 3), np.nan), x)
