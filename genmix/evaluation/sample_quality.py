"""How good samples are, as a classifier of the same data set sees them, or known modes tell.

No figure here is comparable with one that another classifier gave: state its accuracy beside them.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Key, PyTree

from genmix.capabilities import Samples
from genmix.evaluation import classifier as classifiers
from genmix.evaluation.classifier import Classifier
from genmix.nets import state

Features = Float[np.ndarray, "_ _"]
Probabilities = Float[np.ndarray, "_ classes"]


class SampleQuality(NamedTuple):
    """Figures of a sample beside real events, in what a classifier makes of both.

    Attributes:
        frechet: distance of `frechet_distance`, 0 at best.
        frechet_error: its standard error over samples, of `frechet_error`.
        inception_score: of `inception_score`, at most the number of classes.
        mode_score: of `mode_score`, at most the number of classes.
        precision: share of samples that lie among the real events.
        recall: share of real events that lie among the samples.
        coverage: of `coverage`.
        class_shares: how often each class is the most probable one.
    """

    frechet: float
    frechet_error: float
    inception_score: float
    mode_score: float
    precision: float
    recall: float
    coverage: float
    class_shares: list[float]


def evaluate_samples(
    key: Key[Array, ""],
    part: Any,
    real: Float[ArrayLike, "m height width channels"],
    classifier: Classifier,
    *,
    num_samples: int,
    to_image: Callable[[Array], Array] = lambda x: x,
) -> SampleQuality:
    """Draw from any part that samples, and compare with real images.

    What is drawn by chains, as from energy models and Boltzmann machines, goes to `of_images`.

    Args:
        real: held-out images in [0, 1].
        classifier: trained on the same data set.
        to_image: event -> image in [0, 1], such as a division by the number of levels.

    Raises:
        TypeError: if the part has no sample.
        ValueError: if num_samples < 2.
    """
    if not isinstance(part, Samples):
        raise TypeError(
            f"{type(part).__name__} has no sample, so its samples cannot be judged: draw images by "
            "chains, as for an energy model, and give them to of_images."
        )
    if num_samples < 2:
        raise ValueError(f"num_samples must be at least 2, got {num_samples}.")
    return of_images(classifier, draw(key, part, num_samples, to_image), real)


def draw(
    key: Key[Array, ""],
    part: Any,
    num_samples: int,
    to_image: Callable[[Array], Array] = lambda x: x,
    *,
    given: PyTree = None,
) -> Array:
    """Images of samples, with networks in evaluation mode.

    Args:
        given: conditions, along the first axis of each array, of one sample after the other; they
            are gone through again and again.
    """
    keys, place = jax.random.split(key, num_samples), jnp.arange(num_samples)
    if given is None:
        return sampler(part, to_image)(keys)
    conditions = jax.tree.map(lambda a: jnp.asarray(a)[place % len(a)], given)
    quiet = state.evaluating(part)
    one = lambda pair: to_image(state.fresh(quiet).sample(*pair))
    return jax.jit(lambda pairs: jax.lax.map(one, pairs, batch_size=500))((keys, conditions))


def sampler(
    part: Any, to_image: Callable[[Array], Array]
) -> Callable[[Key[Array, " n"]], Float[Array, "n height width channels"]]:
    """Keys -> images, compiled at the first call; networks are in evaluation mode."""
    quiet = state.evaluating(part)
    one = lambda key: to_image(state.fresh(quiet).sample(key))
    return jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=500))


def draw_means(key: Key[Array, ""], model: Any, num_samples: int) -> Float[Array, "n ..."]:
    """Means of x given z of the prior: samples without the likelihood's noise.

    Args:
        model: one with a prior and a decode, such as a LatentVariableModel or an Autoencoder.
    """
    quiet = state.evaluating(model)

    def one(key: Key[Array, ""]) -> Array:
        copy = state.fresh(quiet)
        return copy.decode(copy.prior.sample(key))

    means = jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=500))
    return means(jax.random.split(key, num_samples))


def of_images(
    classifier: Classifier,
    images: Float[ArrayLike, "n height width channels"],
    real: Float[ArrayLike, "m height width channels"],
) -> SampleQuality:
    """The figures of images that were drawn already, all in [0, 1].

    Raises:
        ValueError: if an image is not finite, or there are less than four of a kind.
    """
    is_wild = ~np.all(np.isfinite(images), axis=(1, 2, 3))
    if np.any(is_wild):
        raise ValueError(
            f"images must be finite, and {np.sum(is_wild)} of {len(is_wild)} are not: does their "
            "model diverge?"
        )
    fake_features, fake = classifiers.seen(classifier, images)
    real_features, labels = classifiers.seen(classifier, real)
    precision, recall = precision_and_recall(real_features, fake_features)
    counts = np.bincount(np.argmax(fake, axis=1), minlength=fake.shape[1])
    return SampleQuality(
        frechet=frechet_distance(real_features, fake_features),
        frechet_error=frechet_error(real_features, fake_features),
        inception_score=inception_score(fake),
        mode_score=mode_score(fake, np.mean(labels, axis=0)),
        precision=precision,
        recall=recall,
        coverage=coverage(real_features, fake_features),
        class_shares=[float(count / len(fake)) for count in counts],
    )


def frechet_distance(a: Features, b: Features) -> float:
    """|difference of means|^2 + tr(A + B - 2 (A B)^(1/2)), with covariances A and B.

    The squared 2-Wasserstein distance of two normals with these moments; for small samples of one
    distribution it is well above 0.

    Raises:
        ValueError: if a or b has fewer than two rows, or a number that is not finite, or they
            differ in features.

    Source: Heusel et al. (2017), arXiv:1706.08500, equation 6.
    """
    a, b = _table("a", a, least=2), _table("b", b, least=2)
    _require_alike(a, b)
    means = np.mean(a, axis=0), np.mean(b, axis=0)
    first, second = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    root = _square_root(first)
    cross = np.sum(np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0)))
    squares = np.sum((means[0] - means[1]) ** 2)
    return float(squares + np.trace(first) + np.trace(second) - 2 * cross)


def frechet_error(real: Features, fake: Features, *, num_groups: int = 10) -> float:
    """Standard error of the Fréchet distance over fake events, the real ones and networks fixed.

    Each group of fake events is left out in turn; groups are drawn, since events may come in the
    order of their classes. It is not the spread between training runs.

    Source: Efron (1982), The jackknife, section 3 (delete-a-group).
    """
    order = np.random.default_rng(0).permutation(len(fake))
    groups = order % min(num_groups, len(fake))
    without = [frechet_distance(real, fake[groups != group]) for group in np.unique(groups)]
    return math.sqrt((len(without) - 1) * float(np.var(without)))


def _square_root(matrix: np.ndarray) -> np.ndarray:
    """Of a symmetric matrix without negative eigenvalues, up to rounding."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def inception_score(probabilities: Probabilities) -> float:
    """exp E KL(p(y | x) || p(y)): between 1 and the number of classes.

    Raises:
        ValueError: if there are no rows, or a number is not finite.

    Source: Salimans et al. (2016), arXiv:1606.03498, section 4.
    """
    probabilities = _table("probabilities", probabilities)
    return math.exp(float(np.mean(_kl(probabilities, np.mean(probabilities, axis=0)))))


def mode_score(probabilities: Probabilities, real_marginal: Float[np.ndarray, " classes"]) -> float:
    """Inception score times exp -KL(p(y) || p*(y)), with the shares p* of classes in real data.

    Raises:
        ValueError: if there are no rows, or a number is not finite.

    Source: Che et al. (2017), arXiv:1612.02136, section 4.1.1, in the form of Xu et al. (2018),
    arXiv:1806.07755, section 2.
    """
    probabilities = _table("probabilities", probabilities)
    marginal = np.mean(probabilities, axis=0)
    return inception_score(probabilities) * math.exp(-float(_kl(marginal, real_marginal)))


def _kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """KL(p || q) along the last axis, in nats; 0 log 0 is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.sum(np.where(p > 0, p * (np.log(p) - np.log(q)), 0.0), axis=-1))


def precision_and_recall(
    real: Features, fake: Features, *, num_neighbours: int = 3
) -> tuple[float, float]:
    """Share of fake events among the real ones, and of real events among the fake ones.

    An event is among others if it is no further from one of them than that one's k-th neighbour.

    Raises:
        ValueError: if there are not more events than neighbours, a number is not finite, or the
            events differ in features.

    Source: Kynkäänniemi et al. (2019), arXiv:1904.06991, equation 1.
    """
    real, fake = _neighbouring(real, fake, num_neighbours)
    across = _squared_distances(fake, real)
    precision = np.mean(np.any(across <= _radii(real, num_neighbours)[None, :], axis=1))
    recall = np.mean(np.any(across <= _radii(fake, num_neighbours)[:, None], axis=0))
    return float(precision), float(recall)


def coverage(real: Features, fake: Features, *, num_neighbours: int = 3) -> float:
    """Share of real events with a fake one no further than their k-th real neighbour.

    One far outlier among the fake events does not raise it, as it raises recall.

    Raises:
        ValueError: as of `precision_and_recall`.

    Source: Naeem et al. (2020), arXiv:2002.09797, equation 9.
    """
    real, fake = _neighbouring(real, fake, num_neighbours)
    nearest = np.min(_squared_distances(real, fake), axis=1)
    return float(np.mean(nearest <= _radii(real, num_neighbours)))


def _radii(x: np.ndarray, num_neighbours: int) -> np.ndarray:
    """Squared distance of each event from its k-th neighbour; it is its own neighbour 0."""
    return np.sort(_squared_distances(x, x), axis=1)[:, num_neighbours]


def _neighbouring(
    real: Features, fake: Features, num_neighbours: int
) -> tuple[np.ndarray, np.ndarray]:
    if min(len(real), len(fake)) <= num_neighbours:
        raise ValueError(
            f"{num_neighbours} neighbours need more events, got {len(real)} real and {len(fake)} "
            "fake ones."
        )
    real, fake = _table("real", real), _table("fake", fake)
    _require_alike(real, fake)
    return real, fake


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    squares = np.sum(a**2, axis=1)[:, None] + np.sum(b**2, axis=1)[None, :]
    return np.maximum(squares - 2 * a @ b.T, 0)


def _table(name: str, rows: ArrayLike, *, least: int = 1) -> np.ndarray:
    rows = np.asarray(rows)
    if rows.ndim != 2 or len(rows) < least:
        raise ValueError(f"{name} must be a table of at least {least} rows, got {rows.shape}.")
    is_wild = ~np.all(np.isfinite(rows), axis=1)
    if np.any(is_wild):
        raise ValueError(
            f"{name} must be finite, and {np.sum(is_wild)} of {len(rows)} rows are not: leave them "
            "out, and say how many they were."
        )
    return rows


def _require_alike(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"both must have as many features, got {a.shape[1]} and {b.shape[1]}.")


class Modes(NamedTuple):
    """What samples make of a mixture whose modes are known.

    Attributes:
        covered: modes that are nearest to at least one sample of high quality.
        high_quality: share of samples within three deviations of a mode.
        smallest_share: of all samples, those of high quality at the rarest mode.
    """

    covered: int
    high_quality: float
    smallest_share: float


def modes(
    samples: Float[ArrayLike, "n dim"], centres: Float[ArrayLike, "modes dim"], scale: float
) -> Modes:
    """How a sample covers the modes of a mixture of round normals.

    Raises:
        ValueError: if there are no samples.

    Source: Srivastava et al. (2017), arXiv:1705.07761, section 4.1.
    """
    samples, centres = np.asarray(samples, np.float64), np.asarray(centres, np.float64)
    if not len(samples):
        raise ValueError("samples must hold at least one event, got none.")
    distances = np.linalg.norm(samples[:, None] - centres[None], axis=-1)
    good = np.min(distances, axis=1) < 3 * scale
    counts = np.bincount(np.argmin(distances, axis=1)[good], minlength=len(centres))
    shares = counts / len(samples)
    return Modes(int(np.sum(counts > 0)), float(np.mean(good)), float(np.min(shares)))
