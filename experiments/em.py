"""Mixtures by EM on the digits, Gaussian and Bernoulli: python -m experiments.em.

Defaults take less than a minute on two CPU cores.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genmix.data.binarization import binarize_once
from genmix.data.digits import grey_digits
from genmix.densities import exponential_families
from genmix.evaluation import pictures
from genmix.inference import em
from genmix.inference.em_components import DiagonalNormals, FamilyMembers, FullNormals, TiedNormals
from genmix.runs import command_line, run_directory

NUM_TRAIN = 1_437
"""Images to train on, as in genmix.data.digits; the other 360 are to test on."""
DIM = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Each mixture starts from the same centers, which k-means++ finds."""

    components: int = 20
    steps: int = 100
    """At most; EM stops where a step gains less than 1e-4 nats an image."""
    floor: float = 1e-2
    """Smallest variance, of pixels between 0 and 1: some are the same in all images."""
    batch_size: int = 200
    """Of stepwise EM, which sees as many images as `steps` steps of EM."""
    seed: int = 0
    out: Path | None = None
    """Directory of the run; runs/em/TIME if not given."""

    def __post_init__(self):
        command_line.require(self, counts=("components", "steps", "batch_size"))
        if self.components > NUM_TRAIN:
            raise ValueError(f"components must be at most {NUM_TRAIN}, got {self.components}.")
        if not 0 < self.floor < 1:
            raise ValueError(f"floor must be between 0 and 1, got {self.floor}.")


def kinds(config: Config) -> dict[str, tuple[em.Components, Any]]:
    """Components by name, with parameters of the right shapes to start from."""
    k = config.components
    loc, eye = jnp.full((k, DIM), 0.5), jnp.eye(DIM)
    half = jnp.full(DIM, 0.5)
    bernoulli = FamilyMembers(exponential_families.bernoulli, half, prior_share=1e-3)
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


def evaluate(components: em.Components, mixture: em.Mixture, x: np.ndarray) -> tuple[float, float]:
    """Mean log p(x) and its standard error, in nats."""
    log_prob = jax.jit(jax.vmap(lambda x: em.log_prob(mixture, components, x)))
    values = np.asarray(log_prob(jnp.asarray(x)), np.float64)
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))


def run_all(config: Config, out: Path) -> list[dict[str, Any]]:
    start_key, run_key = jax.random.split(jax.random.key(config.seed))
    rows, curves = [], {}
    for name, (components, initial) in kinds(config).items():
        x = images(name)
        train, test = jnp.asarray(x[:NUM_TRAIN]), x[NUM_TRAIN:]
        centers = em.plus_plus(jax.random.clone(start_key), train, config.components)
        start = em.start_at(centers, components, initial, train)
        for method, run in methods(config, components).items():
            began = time.perf_counter()
            result = jax.block_until_ready(jax.jit(run)(jax.random.clone(run_key), start, train))
            seconds = time.perf_counter() - began
            train_nats, _ = evaluate(components, result.mixture, x[:NUM_TRAIN])
            test_nats, error = evaluate(components, result.mixture, test)
            rows.append(
                {
                    "model": name,
                    "method": method,
                    "train_log_prob": train_nats,
                    "test_log_prob": test_nats,
                    "test_standard_error": error,
                    "steps": int(result.num_steps),
                    "converged": bool(result.converged),
                    "seconds": seconds,
                }
            )
            if method == "EM":
                history = np.asarray(result.history)[: int(result.num_steps)]
                curves[name] = np.arange(1, len(history) + 1), history - history[0]
                means = means_of(name, result.mixture).reshape(-1, 8, 8, 1)
                pictures.save_samples(out / f"means-{name.split()[0].lower()}.png", means)
    pictures.save_curves(
        out / "curves.png",
        curves,
        x_label="EM step",
        y_label="gain since the start (nats)",
        y_quantile=0.0,
    )
    return rows


def means_of(name: str, mixture: em.Mixture) -> np.ndarray:
    if name == "Bernoulli":
        return np.asarray(jax.nn.sigmoid(mixture.components))
    return np.asarray(mixture.components[0])


def main(config: Config) -> list[dict[str, Any]]:
    begin = time.perf_counter()
    out = run_directory.begin("em", config)
    rows = run_all(config, out)
    command_line.print_table(
        f"mixtures of {config.components}, log p(x) in nats per image (grey: a density)",
        {
            "model": "{model}",
            "method": "{method}",
            "training": "{train_log_prob:.2f}",
            "test": "{test_log_prob:.2f}",
            "±": "{test_standard_error:.2f}",
            "steps": "{steps}",
            "seconds": "{seconds:.1f}",
        },
        rows,
    )
    run_directory.write_results(
        out,
        begin,
        units="nats per image; seconds, compilation included",
        rows=rows,
        seed=config.seed,
    )
    command_line.print_paths(out, "curves.png", "means-*.png")
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
