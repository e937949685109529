"""What a linear classifier can read from a representation."""

from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float, Int

Table = Float[ArrayLike, "_ ..."]
Labels = Int[ArrayLike, " _"]


class Probe(NamedTuple):
    """Accuracy of a linear classifier on events that it was not trained on."""

    accuracy: float
    standard_error: float


def probe(train: Table, train_labels: Labels, test: Table, test_labels: Labels) -> Probe:
    """Fit a linear classifier of any representation, and count its right answers.

    The representation is standardized by its training rows; the penalty is that of a unit normal
    prior of the weights. Nothing is tuned, so that representations are judged alike.

    Raises:
        ValueError: if rows and labels do not belong together, a number is not finite, or there is
            only one class to train on.

    Source: Alain & Bengio (2017), arXiv:1610.01644.
    """
    # Imported here because scikit-learn takes a second to import.
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = {"train": (train, train_labels), "test": (test, test_labels)}
    tables: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, (x, labels) in rows.items():
        x, labels = np.asarray(x), np.asarray(labels)
        if len(x) != len(labels) or not len(x):
            raise ValueError(f"{name} must have a label a row, got {len(x)} and {len(labels)}.")
        if not np.all(np.isfinite(x)):
            raise ValueError(f"{name} must be finite, and is not.")
        tables[name] = x.reshape(len(x), -1), labels
    if len(np.unique(tables["train"][1])) < 2:
        raise ValueError("train_labels must hold at least two classes, got one.")
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    accuracy = float(classifier.fit(*tables["train"]).score(*tables["test"]))
    return Probe(accuracy, float(np.sqrt(accuracy * (1 - accuracy) / len(tables["test"][0]))))
