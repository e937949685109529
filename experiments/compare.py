"""Every family and the hybrids between them, on the same images: python -m experiments.compare.

One row a model: what its likelihood says, what its latents hold, and what a classifier of the same
images makes of its samples. Rows of your own are expressions of `experiments.mix`:

    python -m experiments.compare --add "prior=maf posterior=iaf objective=iwae:5"

Defaults train on scikit-learn's digits in minutes on two CPU cores.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import study
from experiments.families import hybrids, shown
from experiments.families.candidates import CANDIDATES, Candidate
from experiments.families.hybrids import HYBRIDS
from experiments.families.shown import REAL, Trained
from genmix import evaluation
from genmix.data import Dataset
from genmix.evaluation import classifier, sample_quality
from genmix.runs import command_line

MODELS = (*CANDIDATES, *HYBRIDS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.OnImages):
    """Images are binary, so that every likelihood is of the same events."""

    model: tuple[str, ...] = MODELS
    """Rows of the table, by their names."""
    add: tuple[str, ...] = ()
    """More rows: settings of experiments.mix, such as "prior=maf objective=iwae:5"."""
    steps: study.Count = 2000
    batch_size: study.Count = 50
    learning_rate: study.Positive = 2e-3
    """At the start; it falls to zero along a cosine."""
    hidden: study.Count = 100
    """Width of fully connected layers; generators and critics have twice as much."""
    latent: study.Count = 16
    """Dimensions of z."""
    particles: study.Count = 500
    """Of the NLL of latent-variable models."""
    samples: study.Count = 1000
    """Drawn of each model, to be judged."""

    def __post_init__(self):
        super().__post_init__()
        if unknown := set(self.model) - set(MODELS):
            raise ValueError(
                f"model must be of {', '.join(MODELS)}; got {', '.join(sorted(unknown))}."
            )
        if self.samples < 4:  # for 3 neighbours
            raise ValueError(f"samples must be at least 4, got {self.samples}.")
        for text in self.add:
            hybrids.settings(self, text)


def candidate(config: Config, dataset: Dataset, name: str) -> Candidate:
    if name in CANDIDATES:
        return CANDIDATES[name](config, dataset)
    return hybrids.candidate(config, dataset, HYBRIDS.get(name, name))


def binarized(config: Config, dataset: Dataset) -> np.ndarray:
    """One draw of the training images, for what looks at them as a whole."""
    if dataset.transform is None:
        return dataset.train
    key = jax.random.fold_in(config.key, 1)
    return np.asarray(dataset.transform(key, jnp.asarray(dataset.train)))


def variant(config: Config, dataset: Dataset, name: str) -> study.Variant:
    model, shape = candidate(config, dataset, name), dataset.train.shape[1:]
    event = (math.prod(shape),) if model.is_flat else shape

    def ready(key: jax.Array, batch: jax.Array) -> jax.Array:
        bits_key, noise_key = jax.random.split(key)
        bits = batch if dataset.transform is None else dataset.transform(bits_key, batch)
        if model.continuous:
            bits = (bits + jax.random.uniform(noise_key, bits.shape)) / 2
        return bits.reshape(len(batch), *event)

    return study.Variant(
        name=name,
        row={"model": name},
        build=model.build,
        players=model.players,
        data=dataset.train,
        plan=config.plan(transform=ready, average_decay=0.99),
    )


def report(
    config: Config, dataset: Dataset, judge: classifier.Classifier, result: study.Result
) -> dict[str, Any]:
    """Every figure that the model's capabilities allow; the reasons of the blanks are kept too."""
    model, shape = candidate(config, dataset, result.name), dataset.test.shape[1:]
    flat = lambda x: x.reshape(len(x), -1) if model.is_flat else x
    seen = dataset._replace(train=flat(binarized(config, dataset)), test=flat(dataset.test))
    found = evaluation.report(
        config.key,
        model.part(result.model),
        seen._replace(binarization="static"),
        classifier=judge,
        num_particles=config.particles,
        num_samples=config.samples,
        to_image=lambda x: x.reshape(shape),
        seconds_to_train=result.seconds,
    )
    nll = found.figures.get("NLL")
    text = {"nll_text": nll and f"{'' if nll.note.startswith('exact') else '≤ '}{nll.value:.2f}"}
    return found.row() | text | {"blanks": dict(found.blanks)}


def real(config: Config, dataset: Dataset, judge: classifier.Classifier) -> dict[str, float | None]:
    """What training images, as many as are drawn of each model, look like to the classifier."""
    train = binarized(config, dataset)
    seen = sample_quality.of_images(judge, train[: config.samples], dataset.test)
    return {
        "Fréchet": seen.frechet,
        "Fréchet error": seen.frechet_error,
        "MODE score": seen.mode_score,
        "precision": seen.precision,
        "coverage": seen.coverage,
    }


def experiment(config: Config) -> study.Study:
    dataset = config.load()
    labels, test_labels = dataset.train_labels, dataset.test_labels
    if dataset.num_levels != 2 or labels is None or test_labels is None:
        raise ValueError(f"{dataset.name} must be of binary images with labels: take another set.")

    @functools.cache
    def judge(out: Path) -> classifier.Classifier:
        images = binarized(config, dataset)
        return classifier.train(config.key, images, labels, directory=out / "classifier")

    def measure(result: study.Result) -> dict[str, Any]:
        if result.name == REAL:
            return real(config, dataset, judge(result.out))
        return report(config, dataset, judge(result.out), result)

    def parts(found: Sequence[study.Result]) -> list[Trained]:
        return [
            Trained(it.name, candidate(config, dataset, it.name).part(it.model), it.figures[0])
            for it in found
            if it.name != REAL
        ]

    def facts(out: Path) -> dict[str, Any]:
        accuracy = classifier.accuracy(judge(out), dataset.test, test_labels)
        return {"dataset": dataset.name, "accuracy": accuracy}

    return study.Study(
        variants=[
            study.Computation(name=REAL, row={"model": REAL}, compute=lambda out: None),
            *(variant(config, dataset, name) for name in (*config.model, *config.add)),
        ],
        measure=measure,
        draw=lambda out, found: shown.draw(out, dataset.test, parts(found)),
        tables=shown.TABLES,
        facts=facts,
        units="nats per image; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("compare", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
