"""A linear classifier reads what stands in a representation, and no more."""

import numpy as np
import pytest

from genmix.evaluation import probe

RNG = np.random.default_rng(0)


def test_a_probe_reads_what_is_linear():
    labels = RNG.integers(3, size=600)
    noise = RNG.normal(size=(600, 4))
    told = noise + 10 * np.eye(4)[labels]
    assert probe(told[:300], labels[:300], told[300:], labels[300:]).accuracy == 1.0
    blind = probe(noise[:300], labels[:300], noise[300:], labels[300:])
    # Chance is 1/3; 4 standard errors are a false alarm in 16,000.
    assert blind.accuracy == pytest.approx(1 / 3, abs=4 * blind.standard_error)
    assert blind.standard_error == pytest.approx(np.sqrt(2 / 9 / 300), rel=0.1)


def test_rows_without_labels_are_refused():
    x, labels = np.zeros((4, 2)), np.arange(4)
    with pytest.raises(ValueError, match="train must have a label a row, got 4 and 3"):
        probe(x, labels[:3], x, labels)
    with pytest.raises(ValueError, match="test must be finite"):
        probe(x, labels, np.full((4, 2), np.inf), labels)
    with pytest.raises(ValueError, match="two classes, got one"):
        probe(x, np.zeros(4, int), x, labels)
