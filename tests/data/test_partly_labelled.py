import numpy as np
import pytest

from genmix.data import partly_labelled

LABELS = np.random.default_rng(0).integers(0, 3, 60)
EVENTS = np.arange(60.0)


def test_as_many_labels_of_each_class_stay():
    kept = partly_labelled.hidden(LABELS, 11, num_classes=3, seed=0)
    has_label = kept != partly_labelled.MISSING
    np.testing.assert_array_equal(kept[has_label], LABELS[has_label])
    assert np.bincount(kept[has_label]).tolist() == [4, 4, 3]
    other = partly_labelled.hidden(LABELS, 11, num_classes=3, seed=1)
    assert np.any(other != kept)
    found = partly_labelled.split(EVENTS, kept, num_classes=3)
    assert len(found.events) == 60
    np.testing.assert_array_equal(found.labelled, EVENTS[has_label])
    np.testing.assert_array_equal(found.classes.argmax(axis=1), kept[has_label])
    assert np.all(found.classes.sum(axis=1) == 1)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full(60, 3), "labels must be 0 .. 2, or -1 where they are missing, got 3"),
        (np.full(60, -2), "or -1 where they are missing, got -2"),
        (np.full(60, -1), "all labels are missing, and classes that nothing names are clusters"),
        (np.zeros(59, int), "a label an event, got 59 for 60"),
    ],
)
def test_labels_that_name_nothing_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        partly_labelled.split(EVENTS, labels, num_classes=3)


def test_too_few_labels_are_refused():
    with pytest.raises(ValueError, match="at least one for each of 3 classes, got 2"):
        partly_labelled.hidden(LABELS, 2, num_classes=3, seed=0)
    with pytest.raises(ValueError, match=r"class 0 has .* labelled examples, fewer than the 20"):
        partly_labelled.hidden(LABELS[:40], 60, num_classes=3, seed=0)
