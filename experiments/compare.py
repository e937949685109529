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
from experiments.families.candidates import CANDIDATES, Candidate
from experiments.grid import config as grid
from experiments.grid import game
from genmix import evaluation
from genmix.data import Dataset
from genmix.evaluation import classifier, pictures, sample_quality
from genmix.runs import command_line

HYBRIDS = {
    "VAE": "",
    "IWAE, k = 5": "objective=iwae:5",
    "VAE, two layers": "prior=hierarchical",
    "VAE, MAF prior": "prior=maf",
    "VAE, IAF posterior": "posterior=iaf",
    "VAE, MAF and IAF": "prior=maf posterior=iaf",
    "PixelVAE": "decoder=pixelcnn width=16",
    "VAE + critic": "adversarial=data weight=2",
}
"""Settings of experiments.mix beside its defaults."""
MODELS = (*CANDIDATES, *HYBRIDS)
REAL = "training images"


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
            mixed(self, text)


def mixed(config: Config, text: str) -> grid.Config:
    """The settings of experiments.mix that an expression names.

    Raises:
        ValueError: if there are none of that name, or their values do not go together.
    """
    options: dict[str, Any] = {}
    for word in text.split():
        name, _, value = word.partition("=")
        if name == "objective" and ":" in value:
            value, _, k = value.partition(":")
            options["k"] = int(k)
        known = {field.name: field for field in dataclasses.fields(grid.Config)}
        if name not in known or not value:
            raise ValueError(f'"{word}" is no setting=value of experiments.mix, in "{text}".')
        options[name] = number(value)
    shared = ("seed", "steps", "batch_size", "learning_rate", "hidden", "latent", "dataset")
    return grid.Config(**({name: getattr(config, name) for name in shared} | options))


def number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def candidate(config: Config, dataset: Dataset, name: str) -> Candidate:
    if name in CANDIDATES:
        return CANDIDATES[name](config, dataset)
    settings = mixed(config, HYBRIDS.get(name, name))
    build = lambda: game.start(settings, dataset)
    return Candidate(build, game.players(settings), game.model_of)


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
    text = {"nll_text": str(found.figures["NLL"]) if "NLL" in found.figures else None}
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


def draw(config: Config, dataset: Dataset, out: Path, found: Sequence[study.Result]) -> None:
    """samples.png, a row for each model; likelihood_and_samples.png, a point for each."""
    shape = dataset.test.shape[1:]
    sheet = {"test images": dataset.test[:: max(len(dataset.test) // 12, 1)][:12]}
    points = {}
    for result in found:
        if result.name == REAL:
            continue
        part = candidate(config, dataset, result.name).part(result.model)
        to_image = lambda x: x.reshape(shape).astype(jnp.float32)
        sheet[result.name] = np.asarray(
            sample_quality.sampler(part, to_image)(jax.random.split(config.key, 12))
        )
        (row,) = result.figures
        if row["NLL"] is not None:
            points[result.name] = row["NLL"], row["Fréchet"]
    pictures.save_sheet(out / "samples.png", sheet)
    pictures.save_named_points(
        out / "likelihood_and_samples.png",
        points,
        x_label="NLL of test images, in nats (of some an upper bound)",
        y_label="Fréchet distance of samples from test images",
    )


LIKELIHOODS: dict[str, study.Column] = {
    "model": "{model}",
    "NLL": "{nll_text}",
    "KL": "{rate:.1f}",
    "I(x; z)": "{information:.1f}",
    "active": "{active units:.0f}",
    "probe": "{linear probe:.0%}",
    "training": "{seconds to train:.0f} s",
}
SAMPLES: dict[str, study.Column] = {
    "model": "{model}",
    "Fréchet": "{Fréchet:.1f}",
    "±": "{Fréchet error:.1f}",
    "MODE": "{MODE score:.2f}",
    "precision": "{precision:.2f}",
    "coverage": "{coverage:.2f}",
    "copying": "{copying:.2f}",
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

    def facts(out: Path) -> dict[str, Any]:
        accuracy = classifier.accuracy(judge(out), dataset.test, test_labels)
        return {"dataset": dataset.name, "accuracy": accuracy}

    models = lambda rows: [row for row in rows if row["model"] != REAL]
    tables = [
        study.Table(
            "{dataset}: nats per image, ≤ an upper bound; what latents hold", LIKELIHOODS, models
        ),
        study.Table("samples, as a classifier of accuracy {accuracy:.1%} sees them", SAMPLES),
    ]
    return study.Study(
        variants=[
            study.Computation(name=REAL, row={"model": REAL}, compute=lambda out: None),
            *(variant(config, dataset, name) for name in (*config.model, *config.add)),
        ],
        measure=measure,
        draw=lambda out, found: draw(config, dataset, out, found),
        tables=tables,
        facts=facts,
        units="nats per image; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("compare", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
