"""Whether samples are copies of training events."""

import numpy as np
from jaxtyping import ArrayLike, Shaped

Events = Shaped[ArrayLike, "_ ..."]


def copying(train: Events, test: Events, samples: Events, *, rows_per_chunk: int = 1000) -> float:
    """Probability that a sample lies nearer to its nearest training event than a test event does.

    One half for other events of the data's own distribution, 1 for copies. Samples that are worse
    than data lie further away and are below one half, so it says nothing of how good they are.
    Distances are Euclidean, ties count half.

    Raises:
        ValueError: if one of the three is empty or not finite, or they differ in shape.

    Source: Meehan, Chaudhuri & Dasgupta (2020), arXiv:2004.05675, section 3, with one cell.
    """
    tables = {"train": train, "test": test, "samples": samples}
    flat: dict[str, np.ndarray] = {}
    shape = np.shape(train)[1:]
    for name, events in tables.items():
        events = np.asarray(events, np.float64)
        if not len(events) or events.shape[1:] != shape or not np.all(np.isfinite(events)):
            raise ValueError(
                f"{name} must be at least one finite event of shape {shape}, as train's are, got "
                f"{events.shape}{'' if np.all(np.isfinite(events)) else ', not all finite'}."
            )
        flat[name] = events.reshape(len(events), -1)

    def nearest(events: np.ndarray) -> np.ndarray:
        chunks = np.array_split(events, -(-len(events) // rows_per_chunk))
        squares = np.sum(flat["train"] ** 2, axis=1)
        products = (squares - 2 * chunk @ flat["train"].T for chunk in chunks)
        return np.concatenate([np.min(p, axis=1) for p in products]) + np.sum(events**2, axis=1)

    of_test, of_samples = np.sort(nearest(flat["test"])), nearest(flat["samples"])
    further = len(of_test) - np.searchsorted(of_test, of_samples, side="right")
    level = np.searchsorted(of_test, of_samples, side="right") - np.searchsorted(
        of_test, of_samples, side="left"
    )
    return float(np.mean(further + level / 2) / len(of_test))
