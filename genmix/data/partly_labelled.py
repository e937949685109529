"""Data sets of which few examples have a label."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

MISSING = -1


class PartlyLabelled(NamedTuple):
    """All events, and those with a label, beside their classes."""

    events: Shaped[np.ndarray, "n ..."]
    labelled: Shaped[np.ndarray, "labelled ..."]
    classes: Float[np.ndarray, "labelled classes"]  # one-hot


def hidden(
    labels: Int[np.ndarray, " n"], num_labels: int, *, num_classes: int, seed: int
) -> Int[np.ndarray, " n"]:
    """The labels with all but num_labels missing, as many of each class, drawn at random.

    Raises:
        ValueError: if there is less than one label a class, or a class has too few examples.
    """
    _check(labels, num_classes)
    if num_labels < num_classes:
        raise ValueError(
            f"num_labels must be at least one for each of {num_classes} classes, got {num_labels}."
        )
    order = np.random.default_rng(seed).permutation(len(labels))
    kept = np.full_like(labels, MISSING)
    each, more = divmod(num_labels, num_classes)
    for c in range(num_classes):
        wanted = each + (c < more)
        found = order[labels[order] == c][:wanted]
        if len(found) < wanted:
            raise ValueError(
                f"class {c} has {len(found)} labelled examples, fewer than the {wanted} wanted: "
                "lower num_labels."
            )
        kept[found] = c
    return kept


def split(
    events: Shaped[np.ndarray, "n ..."], labels: Int[np.ndarray, " _"], *, num_classes: int
) -> PartlyLabelled:
    """All events, for what needs no labels, and apart those whose label is not MISSING (-1).

    Raises:
        ValueError: if there are not as many labels as events, a label is out of range, or all are
            missing.
    """
    if len(events) != len(labels):
        raise ValueError(f"there must be a label an event, got {len(labels)} for {len(events)}.")
    _check(labels, num_classes)
    has_label = labels != MISSING
    if not np.any(has_label):
        raise ValueError(
            "all labels are missing, and classes that nothing names are clusters: train the "
            "Summed alone, without pairs and classification."
        )
    return PartlyLabelled(
        events, events[has_label], np.eye(num_classes, dtype=np.float32)[labels[has_label]]
    )


def _check(labels: Int[np.ndarray, " n"], num_classes: int) -> None:
    if len(labels) and (labels.min() < MISSING or labels.max() >= num_classes):
        wrong = labels.min() if labels.min() < MISSING else labels.max()
        raise ValueError(
            f"labels must be 0 .. {num_classes - 1}, or {MISSING} where they are missing, got "
            f"{wrong}."
        )
