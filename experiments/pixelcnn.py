"""Autoregressive models of binary images, PixelCNN among others: python -m experiments.pixelcnn.

log p(x) is exact, and so is each draw, at about the cost of one pass. Defaults train on
scikit-learn's digits in minutes on two CPU cores.
"""

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import optax
from flax import nnx

from genmix import command_line, data, evaluation
from genmix.data import Dataset
from genmix.evaluation import pictures
from genmix.families import Autoregressive, BinaryLevels
from genmix.nets import MADE, NADE, DiagonalBiLSTM, GatedPixelCNN, RowLSTM, StepwiseMADE, state
from genmix.training import Fit, Plan, Player, Validation, fit, objectives, run_directory

Network = Literal["made", "nade", "pixelcnn", "row-lstm", "bilstm"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """One network after the other is trained on the same images."""

    dataset: Literal["digits", "mnist", "binarized-mnist", "caltech-silhouettes"] = "digits"
    data_dir: Path | None = None
    """Folder that holds mnist/, binarized_mnist/, ...; the digits need none."""
    network: tuple[Network, ...] = ("made", "nade", "pixelcnn")
    layers: int = 5
    """Layers of pixelcnn; row-lstm and bilstm have two."""
    width: int = 16
    """Channels of pixelcnn, row-lstm and bilstm."""
    hidden: int | None = None
    """Units of made and nade; 200 for the digits, 1,000 for larger images."""
    steps: int = 3000
    batch_size: int = 50
    learning_rate: float = 2e-3
    """At the start; it falls to zero along a cosine."""
    patience: int | None = None
    """Stop after this many twentieths of the run without a better validation likelihood."""
    limit: int | None = None
    """Images to validate and to test on, at most, evenly spaced in their sets; all by default."""
    seed: int = 0
    out: Path | None = None
    """Directory of the run; runs/pixelcnn/TIME if not given."""
    resume: bool = False
    """Go on with the run in --out, bit for bit."""
    debug: bool = False
    """If a number is not finite, name the operation that made it so; it may go with --resume."""

    def __post_init__(self):
        command_line.require(
            self,
            counts=("layers", "width", "hidden", "steps", "batch_size", "patience", "limit"),
            positive=("learning_rate",),
            names=("network",),
        )


def build(config: Config, dataset: Dataset, name: str) -> Autoregressive:
    shape, rngs = dataset.train.shape[1:], nnx.Rngs(config.seed)
    dim, pixels = math.prod(shape), shape[:2]
    hidden = config.hidden or (200 if dim < 500 else 1000)
    networks: dict[str, Callable[[], Any]] = {
        "made": lambda: StepwiseMADE(MADE(dim, (hidden,), direct=True, rngs=rngs)),
        "nade": lambda: NADE(dim, hidden, rngs=rngs),
        "pixelcnn": lambda: GatedPixelCNN(pixels, 1, config.width, config.layers, 1, rngs=rngs),
        "row-lstm": lambda: RowLSTM(pixels, 1, config.width, 2, 1, rngs=rngs),
        "bilstm": lambda: DiagonalBiLSTM(pixels, 1, config.width, 2, 1, rngs=rngs),
    }
    return Autoregressive(networks[name](), BinaryLevels(), shape=shape)


def train(config: Config, dataset: Dataset, name: str, out: Path) -> Fit:
    every = max(config.steps // 20, 1)

    def score(model: Autoregressive) -> float:
        return -likelihood(model, dataset.valid).nll

    plan = Plan(
        num_rounds=config.steps,
        batch_size=config.batch_size,
        transform=data.binarize if dataset.binarization == "dynamic" else None,
        rounds_per_call=every,
        validation=Validation(score, every, config.patience) if len(dataset.valid) else None,
        directory=out / name,
        resume=config.resume,
        debug=config.debug,
        label=name,
    )
    schedule = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    optimizer = optax.chain(optax.clip_by_global_norm(100.0), optax.adam(schedule))
    player = Player(loss=objectives.elbo(name="log_prob"), optimizer=optimizer)
    model = build(config, dataset, name)
    return fit(jax.random.key(config.seed), model, [player], dataset.train, plan)


def likelihood(model: Autoregressive, x: np.ndarray) -> evaluation.LogLikelihood:
    return evaluation.log_likelihood(
        jax.random.key(0), model, x, num_particles=1, rows_per_chunk=200
    )


def draw(config: Config, model: Autoregressive, path: Path) -> None:
    keys = jax.random.split(jax.random.key(config.seed), 100)
    samples = jax.jit(lambda model: jax.vmap(model.sample)(keys))(model)
    pictures.save_samples(path, samples)


def print_table(dataset: Dataset, rows: list[dict[str, Any]]) -> None:
    command_line.print_table(
        f"{dataset.name}, {len(dataset.test)} test images: exact NLL in nats",
        {
            "model": "{model}",
            "NLL": "{nll:.2f}",
            "±": "{nll_standard_error:.2f}",
            "parameters": "{parameters:,}",
            "training": "{train_seconds:.1f} s",
        },
        rows,
    )


def main(config: Config) -> list[dict[str, Any]]:
    start = time.perf_counter()
    dataset = data.thinned(data.load(config.dataset, config.data_dir), config.limit)
    data.require(dataset, batch_size=config.batch_size, patience=config.patience)
    out = run_directory.begin("pixelcnn", config)
    log_px = evaluation.baselines.independent_bernoulli(dataset.train, dataset.test)
    rows: list[dict[str, Any]] = [evaluation.baselines.row("independent Bernoulli", log_px)]
    curves = {}
    for name in config.network:
        trained = train(config, dataset, name, out)
        draw(config, trained.model, out / name / "samples.png")
        estimate = likelihood(trained.model, dataset.test)
        rows.append(
            {
                "model": name,
                "nll": estimate.nll,
                "nll_standard_error": estimate.standard_error,
                "parameters": state.num_parameters(trained.model),
                "train_seconds": trained.seconds,
            }
        )
        curves[name] = trained.history["log_prob"]
    pictures.save_curves(
        out / "curves.png", curves, x_label="step", y_label="training log p(x) (nats)"
    )
    print_table(dataset, rows)
    run_directory.write_results(
        out,
        start,
        units="nats per image; seconds",
        dataset=dataset.name,
        seed=config.seed,
        rows=rows,
    )
    command_line.print_paths(out, "*/samples.png", "curves.png")
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
