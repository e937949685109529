"""Mixtures by EM on the digits, Gaussian and Bernoulli: python -m experiments.em.

Defaults take less than a minute on two CPU cores.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import study
from genmix.data.binarization import binarize_once
from genmix.data.digits import grey_digits
from genmix.densities.bernoulli import Bernoulli
from genmix.evaluation import pictures
from genmix.inference import em
from genmix.inference.em_components import DiagonalNormals, FamilyMembers, FullNormals, TiedNormals
from genmix.runs import command_line

NUM_TRAIN = 1_437
"""Images to train on, as in genmix.data.digits; the other 360 are to test on."""
DIM = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.Settings):
    """Each mixture starts from the same centers, which k-means++ finds."""

    components: Annotated[
        study.Count, study.Rule(lambda k: k <= NUM_TRAIN, f"be at most {NUM_TRAIN}")
    ] = 20
    steps: study.Count = 100
    """At most; EM stops where a step gains less than 1e-4 nats an image."""
    floor: Annotated[float, study.Rule(lambda value: 0 < value < 1, "be between 0 and 1")] = 1e-2
    """Smallest variance, of pixels between 0 and 1: some are the same in all images."""
    batch_size: study.Count = 200
    """Of stepwise EM, which sees as many images as `steps` steps of EM."""


def kinds(config: Config) -> dict[str, tuple[em.Components, Any]]:
    """Components by name, with parameters of the right shapes to start from."""
    k = config.components
    loc, eye = jnp.full((k, DIM), 0.5), jnp.eye(DIM)
    half = jnp.full(DIM, 0.5)
    bernoulli = FamilyMembers(Bernoulli(), half, prior_share=1e-3)
    return {
        "diagonal normals": (DiagonalNormals(config.floor), (loc, jnp.ones((k, DIM)))),
        "full normals": (FullNormals(config.floor), (loc, jnp.tile(eye, (k, 1, 1)))),
        "tied normals": (TiedNormals(config.floor), (loc, eye)),
        "Bernoulli": (bernoulli, jnp.zeros((k, DIM))),
    }


def images(name: str) -> np.ndarray:
    """All digits as vectors: grey for the normals, black and white, drawn once, for Bernoulli."""
    grey = grey_digits()
    return (binarize_once(grey, 0) if name == "Bernoulli" else grey).reshape(-1, DIM)


def methods(config: Config, components: em.Components) -> dict[str, Callable[..., em.Fit]]:
    num_batches = max(config.steps * NUM_TRAIN // config.batch_size, 1)
    return {
        "EM": lambda key, start, x: em.fit(
            start, components, x, max_steps=config.steps, tolerance=1e-4
        ),
        "stepwise EM": lambda key, start, x: em.fit_batches(
            key, start, components, x, batch_size=config.batch_size, num_steps=num_batches
        ),
    }


def fit(config: Config, name: str, method: str) -> em.Fit:
    components, initial = kinds(config)[name]
    start_key, run_key = jax.random.split(config.key)
    train = jnp.asarray(images(name)[:NUM_TRAIN])
    centers = em.plus_plus(start_key, train, config.components)
    start = em.start_at(centers, components, initial, train)
    return jax.jit(methods(config, components)[method])(run_key, start, train)


def measure(config: Config, name: str, fitted: em.Fit) -> dict[str, Any]:
    """Mean log p(x) in nats an image."""
    components, x = kinds(config)[name][0], jnp.asarray(images(name))
    log_prob = jax.jit(jax.vmap(lambda x: em.log_prob(fitted.mixture, components, x)))
    values = np.asarray(log_prob(x), np.float64)
    test = values[NUM_TRAIN:]
    return {
        "train_log_prob": float(np.mean(values[:NUM_TRAIN])),
        "test_log_prob": float(np.mean(test)),
        "test_standard_error": float(np.std(test, ddof=1) / np.sqrt(len(test))),
        "steps": int(fitted.num_steps),
        "converged": bool(fitted.converged),
    }


def draw(out: Path, results: Sequence[study.Result]) -> None:
    """The means of each mixture, and how far EM had risen after each step."""
    curves = {}
    for result in results:
        if result.row["method"] == "EM":
            name, fitted = result.row["model"], result.model
            history = np.asarray(fitted.history)[: int(fitted.num_steps)]
            curves[name] = np.arange(1, len(history) + 1), history - history[0]
            means = means_of(name, fitted.mixture).reshape(-1, 8, 8, 1)
            pictures.save_samples(out / f"means-{name.split()[0].lower()}.png", means)
    label = "gain since the start (nats)"
    pictures.save_curves(
        out / "curves.png", curves, x_label="EM step", y_label=label, y_quantile=0.0
    )


def means_of(name: str, mixture: em.Mixture) -> np.ndarray:
    if name == "Bernoulli":
        return np.asarray(jax.nn.sigmoid(mixture.components))
    return np.asarray(mixture.components[0])


def experiment(config: Config) -> study.Study:
    variant = lambda name, method: study.Computation(
        name=f"{name}, {method}",
        row={"model": name, "method": method},
        compute=lambda directory: fit(config, name, method),
    )
    title = "mixtures of {components}, log p(x) in nats per image (grey: a density)"
    columns = {
        "model": "{model}",
        "method": "{method}",
        "training": "{train_log_prob:.2f}",
        "test": "{test_log_prob:.2f}",
        "±": "{test_standard_error:.2f}",
        "steps": "{steps}",
        "seconds": "{seconds:.1f}",
    }
    names = kinds(config)
    return study.Study(
        variants=[variant(name, method) for name in names for method in ("EM", "stepwise EM")],
        measure=lambda result: measure(config, result.row["model"], result.model),
        draw=draw,
        tables=[study.Table(title, columns)],
        units="nats per image; seconds, compilation included",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("em", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
