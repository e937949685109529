import numpy as np
import pytest

from genmix.evaluation import clustering

CLUSTERS = np.array([0, 0, 0, 2, 2, 3])
LABELS = np.array([1, 1, 0, 2, 2, 0])


def test_clusters_are_named_by_most_of_their_labels():
    named = clustering.majority(CLUSTERS, LABELS, 5)
    np.testing.assert_array_equal(named, [1, 0, 2, 0, 0])  # empty ones by most of all, a tie here
    assert clustering.purity(CLUSTERS, LABELS) == 5 / 6
    assert clustering.purity(np.arange(6), LABELS) == 1.0
    assert clustering.purity(np.zeros(6, int), LABELS) == 2 / 6


def test_the_error_is_that_of_other_events():
    assert (
        clustering.error(CLUSTERS, LABELS, np.array([0, 2, 3, 4]), np.array([1, 2, 1, 0])) == 0.25
    )


def test_bad_clusters_are_refused():
    with pytest.raises(ValueError, match=r"must be as many, at least one, got \(6,\) and \(2,\)"):
        clustering.purity(CLUSTERS, LABELS[:2])
    with pytest.raises(ValueError, match=r"clusters must be in 0 .. 2, got 0 to 3"):
        clustering.majority(CLUSTERS, LABELS, 3)
