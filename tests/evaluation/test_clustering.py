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


def test_events_have_the_cluster_of_most_of_their_nearest_samples():
    """Samples of three codes around three images; of each code's, a tenth are called another's."""
    rng = np.random.default_rng(0)
    images = rng.random((3, 8, 8, 1))
    drawn = np.repeat([0, 1, 2], 100)
    samples = images[drawn] + 0.05 * rng.normal(size=(300, 8, 8, 1))
    codes = np.where(rng.random(300) < 0.1, (drawn + 1) % 3, drawn) + 4
    np.testing.assert_array_equal(clustering.of_nearest(images, samples, codes), [4, 5, 6])
    assert clustering.of_nearest(images[:1], samples[:1], codes[:1]) == codes[0]
    with pytest.raises(ValueError, match="samples and their clusters"):
        clustering.of_nearest(images, samples, codes[:2])
