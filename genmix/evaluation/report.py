"""Every figure that a part's capabilities allow, computed alike for all families."""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Key

from genmix.capabilities import ExactDensity, Samples
from genmix.data import Dataset
from genmix.evaluation import classifier as classifiers
from genmix.evaluation import sample_quality
from genmix.evaluation.bits_per_dim import bits_per_dim
from genmix.evaluation.copying import copying
from genmix.evaluation.decomposition import decomposition
from genmix.evaluation.elbo import elbo
from genmix.evaluation.latents import active_units, encodings
from genmix.evaluation.likelihood import log_likelihood
from genmix.evaluation.probe import probe
from genmix.families import LatentVariableModel, weigh


class Figure(NamedTuple):
    """A number, its standard error if it has one, and what is to be said beside it."""

    value: float
    error: float | None = None
    note: str = ""

    def __str__(self) -> str:
        """With two digits of its error, or four of its own."""
        if self.error and math.isfinite(self.error):
            digits = max(0, 1 - math.floor(math.log10(self.error)))
            text = f"{self.value:.{digits}f} ± {self.error:.{digits}f}"
        else:
            text = f"{self.value:,.0f}" if self.value >= 1000 else f"{self.value:.4g}"
        return f"≤ {text}" if self.note.startswith("upper bound") else text


@dataclasses.dataclass(frozen=True)
class Report:
    """What can be said of a part, and of what cannot, why.

    Attributes:
        figures: by name, in nats where nothing else is said.
        blanks: name -> the reason why there is no such figure.
    """

    figures: Mapping[str, Figure]
    blanks: Mapping[str, str]

    def row(self) -> dict[str, float | None]:
        """Of plain numbers, for a table or a file; None where there is no figure."""
        row: dict[str, float | None] = dict.fromkeys(self.blanks)
        for name, figure in self.figures.items():
            row[name] = figure.value
            if figure.error is not None:
                row[f"{name} error"] = figure.error
        return row

    def __str__(self) -> str:
        """A line each: the figure and its note, or why it is blank."""
        width = max(map(len, [*self.figures, *self.blanks]))
        lines = [
            f"{name:{width}}  {figure}{f'  ({figure.note})' if figure.note else ''}"
            for name, figure in self.figures.items()
        ]
        return "\n".join(lines + [f"{name:{width}}  -  {why}" for name, why in self.blanks.items()])


@dataclasses.dataclass(frozen=True)
class _Question:
    """What all figures are made from."""

    key: Key[Array, ""]
    part: Any
    dataset: Dataset
    classifier: classifiers.Classifier | None
    num_particles: int
    num_samples: int
    to_image: Callable[[Array], Array]


Figures = dict[str, Figure]


def report(
    key: Key[Array, ""],
    part: Any,
    dataset: Dataset,
    *,
    classifier: classifiers.Classifier | None = None,
    num_particles: int = 500,
    num_samples: int = 1000,
    to_image: Callable[[Array], Array] | None = None,
    seconds_to_train: float | None = None,
) -> Report:
    """Every figure of a trained part that its capabilities allow; the test events score it.

    Args:
        part: any part; of a conditional one nothing but its size can be said here.
        dataset: the one that it was trained on.
        classifier: of this data set, which judges samples; without it none are judged.
        num_particles: of importance sampling, where the density is not exact.
        num_samples: drawn to be judged.
        to_image: event -> image in [0, 1]; by default the data set's own.
        seconds_to_train: if it is to stand beside the others.

    Raises:
        ValueError: if num_particles < 1 or num_samples < 4.
    """
    if num_particles < 1 or num_samples < 4:
        raise ValueError(
            "num_particles must be at least 1 and num_samples at least 4, got "
            f"{num_particles} and {num_samples}."
        )
    to_image = to_image or dataset.to_image
    question = _Question(key, part, dataset, classifier, num_particles, num_samples, to_image)
    figures: Figures = {}
    blanks: dict[str, str] = {}
    for (names, answer), own in zip(
        _ANSWERS.items(), jax.random.split(key, len(_ANSWERS)), strict=True
    ):
        try:
            figures |= answer(dataclasses.replace(question, key=own))
        except TypeError as reason:  # of what a part is not able to, its refusal says why
            blanks |= dict.fromkeys(names, str(reason))
    if seconds_to_train is not None:
        figures["seconds to train"] = Figure(seconds_to_train)
    return Report(figures, blanks)


def _likelihood(asked: _Question) -> Figures:
    """-log p(x): exact, by importance sampling, or what a bound says."""
    part, x = asked.part, asked.dataset.test
    num_dims = math.prod(x.shape[1:])
    if weigh.is_bound(part):
        bound = elbo(asked.key, part, x)
        value, error, note = -bound.elbo, bound.standard_error, "upper bound, that of the ELBO"
    else:
        is_exact = isinstance(part, ExactDensity)
        k = 1 if is_exact else asked.num_particles
        estimate = log_likelihood(asked.key, part, x, num_particles=k)
        value, error = estimate.nll, estimate.standard_error
        note = "exact" if is_exact else f"upper bound, k = {k}"
    note = f"{note}; the error is that over test events"
    scale = bits_per_dim(-1.0, num_dims)
    return {
        "NLL": Figure(value, error, note),
        "bits/dim": Figure(value * scale, error * scale, note),
    }


def _rate_and_distortion(asked: _Question) -> Figures:
    _require_latents(asked.part)
    terms = elbo(asked.key, asked.part, asked.dataset.test)
    return {"rate": Figure(terms.rate), "distortion": Figure(-float(np.mean(terms.log_likelihood)))}


def _information(asked: _Question) -> Figures:
    _require_latents(asked.part)
    x = _spaced(asked.dataset.test, 500)
    parts = decomposition(asked.key, asked.part, x)
    limit = f"in {len(x)} events, so at most {math.log(len(x)):.2f}"
    return {"information": Figure(float(parts.information), note=limit)}


def _active_units(asked: _Question) -> Figures:
    layers = active_units(asked.key, asked.part, asked.dataset.test)
    counts = ", ".join(f"{np.sum(active)} of {len(active)}" for active in layers)
    return {"active units": Figure(float(sum(map(np.sum, layers))), note=counts)}


def _samples(asked: _Question) -> Figures:
    if not isinstance(asked.part, Samples):
        raise TypeError(f"{type(asked.part).__name__} has no sample; chains may draw from it.")
    train_key, *keys = jax.random.split(asked.key, 3)
    first, second = (jax.random.split(key, asked.num_samples) for key in keys)
    draw = sample_quality.sampler(asked.part, asked.to_image)
    images = np.asarray(draw(first))  # this call compiles
    start = time.perf_counter()
    jax.block_until_ready(draw(second))
    speed = (time.perf_counter() - start) * 1000 / asked.num_samples
    test, train = jnp.asarray(asked.dataset.test), _train(train_key, asked.dataset)
    real, train = jax.vmap(asked.to_image)(test), jax.vmap(asked.to_image)(train)
    figures = {
        "seconds to draw 1,000": Figure(speed),
        "copying": Figure(copying(train, real, images), note="0.5 for data, 1 for copies"),
    }
    if asked.classifier is None:
        return figures
    seen = sample_quality.of_images(asked.classifier, images, real)
    return figures | {
        "Fréchet": Figure(seen.frechet, seen.frechet_error, "the error is that over samples"),
        "MODE score": Figure(seen.mode_score),
        "precision": Figure(seen.precision),
        "recall": Figure(seen.recall),
        "coverage": Figure(seen.coverage),
    }


def _probe(asked: _Question) -> Figures:
    _require_latents(asked.part)
    labels = asked.dataset.train_labels, asked.dataset.test_labels
    if labels[0] is None or labels[1] is None:
        raise TypeError(f"{asked.dataset.name} has no labels to read from latents.")
    index = _spaced(np.arange(len(asked.dataset.train)), 5000)
    train_key, *keys = jax.random.split(asked.key, 3)
    events = _train(train_key, asked.dataset)[index], asked.dataset.test
    train, test = (
        encodings(key, asked.part, x, num_samples=10) for key, x in zip(keys, events, strict=True)
    )
    found = probe(train, labels[0][index], test, labels[1])
    return {"linear probe": Figure(*found, "accuracy of a linear classifier of E[z | x]")}


def _size(asked: _Question) -> Figures:
    leaves = jax.tree.leaves(nnx.state(asked.part, nnx.Param))
    return {"parameters": Figure(float(sum(leaf.size for leaf in leaves)))}


_ANSWERS: dict[tuple[str, ...], Callable[[_Question], Figures]] = {
    ("NLL", "bits/dim"): _likelihood,
    ("rate", "distortion"): _rate_and_distortion,
    ("information",): _information,
    ("active units",): _active_units,
    ("Fréchet", "MODE score", "precision", "recall", "coverage", "copying"): _samples,
    ("linear probe",): _probe,
    ("parameters",): _size,
}


def _require_latents(part: Any) -> None:
    if not isinstance(part, LatentVariableModel):
        raise TypeError(f"{type(part).__name__} has no latents with a posterior.")


def _train(key: Key[Array, ""], dataset: Dataset) -> Array:
    """Training events as the model sees them: of probabilities one draw."""
    transform, train = dataset.transform, jnp.asarray(dataset.train)
    return train if transform is None else transform(key, train)


def _spaced(x: np.ndarray, limit: int) -> np.ndarray:
    return x if len(x) <= limit else x[np.arange(limit) * len(x) // limit]
