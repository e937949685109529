"""How well clusters that were found without labels agree with labels."""

import numpy as np
from jaxtyping import ArrayLike, Float, Int

from genmix import examples


def majority(
    clusters: Int[ArrayLike, " n"], labels: Int[ArrayLike, " _"], num_clusters: int
) -> Int[np.ndarray, " clusters"]:
    """The most frequent label of each cluster; of an empty one, that of all events.

    Raises:
        ValueError: if there are no events, not as many labels, a label is no whole number from 0
            on, or a cluster is not in 0 .. num_clusters - 1.
    """
    clusters, labels = np.asarray(clusters), np.asarray(labels)
    if not len(clusters) or clusters.shape != labels.shape:
        raise ValueError(
            f"clusters and labels must be as many, at least one, got {clusters.shape} and "
            f"{labels.shape}."
        )
    if clusters.min() < 0 or clusters.max() >= num_clusters:
        raise ValueError(
            f"clusters must be in 0 .. {num_clusters - 1}, got {clusters.min()} to "
            f"{clusters.max()}."
        )
    if labels.dtype.kind not in "iu" or labels.min() < 0:
        raise ValueError(
            f"labels must be whole numbers from 0 on, got {labels.min()} of dtype {labels.dtype}."
        )
    counts = np.zeros((num_clusters, labels.max() + 1), int)
    np.add.at(counts, (clusters, labels), 1)
    best = np.argmax(counts, axis=1)
    return np.where(counts.sum(axis=1) > 0, best, np.argmax(counts.sum(axis=0)))


def purity(clusters: Int[ArrayLike, " n"], labels: Int[ArrayLike, " _"]) -> float:
    """Share of events whose label is the most frequent one of their cluster.

    One cluster an event would be pure: state the number of clusters beside it.
    Source: Manning, Raghavan & Schütze (2008), Introduction to Information Retrieval, 16.3.
    """
    clusters = np.asarray(clusters)
    named = majority(clusters, labels, int(clusters.max(initial=0)) + 1)
    return float(np.mean(named[clusters] == np.asarray(labels)))


def error(
    clusters: Int[ArrayLike, " n"],
    labels: Int[ArrayLike, " _"],
    test_clusters: Int[ArrayLike, " m"],
    test_labels: Int[ArrayLike, " _"],
) -> float:
    """Share of test events that are not of the most frequent training label of their cluster.

    Source: in the manner of Makhzani et al. (2016), arXiv:1511.05644, section 6.
    """
    test_clusters = np.asarray(test_clusters)
    examples.count((test_clusters, test_labels), "the clusters and labels of the test")
    num_clusters = int(max(np.max(clusters), np.max(test_clusters))) + 1
    named = majority(clusters, labels, num_clusters)
    return float(np.mean(named[test_clusters] != np.asarray(test_labels)))


def of_nearest(
    x: Float[ArrayLike, "n ..."],
    samples: Float[ArrayLike, "m ..."],
    clusters: Int[ArrayLike, " _"],
    *,
    num_neighbours: int = 25,
) -> Int[np.ndarray, " n"]:
    """For each event the cluster that most of its nearest samples, or all of them, were drawn from.

    A posterior of a generator's code that needs no network: it shows what the generator knows even
    where a network that has seen samples only is wrong about data.

    Raises:
        ValueError: if there are no samples, or not as many clusters.
    """
    samples, clusters = np.asarray(samples), np.asarray(clusters)
    examples.count((samples, clusters), "the samples and their clusters")
    rows = lambda x: np.reshape(x, (len(x), -1))
    from sklearn.neighbors import KNeighborsClassifier  # takes a second to import

    nearest = KNeighborsClassifier(min(num_neighbours, len(samples)))
    return nearest.fit(rows(samples), clusters).predict(rows(np.asarray(x)))
