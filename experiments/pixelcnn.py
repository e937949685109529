"""Autoregressive models of images, PixelCNN among others: python -m experiments.pixelcnn.

Images are binary or, with --likelihood logistic-mixture, have their grey levels, as in PixelCNN++.
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

from genmix import data, evaluation, objectives
from genmix.data import Dataset, grey
from genmix.evaluation import pictures
from genmix.families import Autoregressive, BinaryLevels, LogisticMixtureLevels, MaskMixture
from genmix.nets import MADE, NADE, DiagonalBiLSTM, GatedPixelCNN, RowLSTM, StepwiseMADE, state
from genmix.objectives import mask_cycling
from genmix.runs import command_line, run_directory
from genmix.training import Fit, Plan, Player, Validation, fit

Network = Literal["made", "nade", "pixelcnn", "row-lstm", "bilstm"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """One network after the other is trained on the same images."""

    dataset: Literal[
        "digits", "mnist", "fashion-mnist", "binarized-mnist", "caltech-silhouettes", "frey-faces"
    ] = "digits"
    likelihood: Literal["bernoulli", "logistic-mixture"] = "bernoulli"
    """Of a pixel: of bits in nats, or of grey levels (logistics cut into bins, ten mixed) in bits
    per dimension."""
    data_dir: Path | None = None
    """Folder that holds mnist/, binarized_mnist/, ...; the digits need none."""
    network: tuple[Network, ...] = ("made", "nade", "pixelcnn")
    layers: int = 5
    """Layers of pixelcnn; row-lstm and bilstm have two."""
    width: int = 16
    """Channels of pixelcnn, row-lstm and bilstm."""
    hidden: int | None = None
    """Units of made and nade; 200 for the digits, 1,000 for larger images."""
    masks: int = 1
    """Orders and masks of made, in turn in training; p(x) is the mean over all of them."""
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
            counts=(
                "layers",
                "width",
                "hidden",
                "masks",
                "steps",
                "batch_size",
                "patience",
                "limit",
            ),
            positive=("learning_rate",),
            names=("network",),
        )
        if self.masks > 1 and "made" not in self.network:
            raise ValueError(f"masks are those of made, got {self.masks} without --network made.")
        if self.likelihood == "bernoulli" and self.dataset == "frey-faces":
            raise ValueError("frey-faces has grey levels only: use --likelihood logistic-mixture.")
        if self.likelihood == "logistic-mixture" and self.dataset not in grey.NAMES:
            raise ValueError(
                f"{self.dataset} has bits only: use --likelihood bernoulli, or one of "
                f"{', '.join(grey.NAMES)}."
            )


def load(config: Config) -> Dataset:
    """Bits or grey levels, as the likelihood wants them."""
    source = data.load if config.likelihood == "bernoulli" else grey.load_grey
    return data.thinned(source(config.dataset, config.data_dir), config.limit)


def build(config: Config, dataset: Dataset, name: str) -> Autoregressive | MaskMixture:
    levels: Any = BinaryLevels()
    if config.likelihood == "logistic-mixture":
        levels = LogisticMixtureLevels(num_levels=dataset.num_levels)
    outputs = levels.num_parameters
    shape, rngs = dataset.train.shape[1:], nnx.Rngs(config.seed)
    dim, pixels = math.prod(shape), shape[:2]
    hidden = config.hidden or (200 if dim < 500 else 1000)
    networks: dict[str, Callable[[], Any]] = {
        "made": lambda: StepwiseMADE(MADE(dim, (hidden,), outputs, direct=True, rngs=rngs)),
        "nade": lambda: NADE(dim, hidden, outputs, rngs=rngs),
        "pixelcnn": lambda: GatedPixelCNN(
            pixels, 1, config.width, config.layers, outputs, rngs=rngs
        ),
        "row-lstm": lambda: RowLSTM(pixels, 1, config.width, 2, outputs, rngs=rngs),
        "bilstm": lambda: DiagonalBiLSTM(pixels, 1, config.width, 2, outputs, rngs=rngs),
    }
    model = Autoregressive(networks[name](), levels, shape=shape)
    if name == "made" and config.masks > 1:
        return MaskMixture(model, config.masks, seed=config.seed)
    return model


def train(config: Config, dataset: Dataset, name: str, out: Path) -> Fit:
    every = max(config.steps // 20, 1)

    def score(model: Any) -> float:
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
    model = build(config, dataset, name)
    bound = mask_cycling.elbo if isinstance(model, MaskMixture) else objectives.elbo
    player = Player(loss=bound(name="log_prob"), optimizer=optimizer)
    return fit(jax.random.key(config.seed), model, [player], dataset.train, plan)


def likelihood(model: Any, x: np.ndarray) -> evaluation.LogLikelihood:
    return evaluation.log_likelihood(
        jax.random.key(0), model, x, num_particles=1, rows_per_chunk=200
    )


def draw(config: Config, dataset: Dataset, model: Any, path: Path) -> None:
    keys = jax.random.split(jax.random.key(config.seed), 100)
    # A mixture over masks has a copy of the weights for each image that is drawn with others.
    together = 5 if isinstance(model, MaskMixture) else 100
    x = jax.jit(lambda model: jax.lax.map(model.sample, keys, batch_size=together))(model)
    pictures.save_samples(path, x / (dataset.num_levels - 1))


def baseline(config: Config, dataset: Dataset) -> dict[str, Any]:
    """The row of independent pixels."""
    if config.likelihood == "bernoulli":
        log_px = evaluation.baselines.independent_bernoulli(dataset.train, dataset.test)
        return evaluation.baselines.row("independent Bernoulli", log_px)
    log_px = evaluation.baselines.independent_histogram(
        dataset.train, dataset.test, num_levels=dataset.num_levels
    )
    row = evaluation.baselines.row("independent histograms", log_px)
    return figures(config, dataset, row)


def figures(config: Config, dataset: Dataset, row: dict[str, Any]) -> dict[str, Any]:
    """A row with its NLL in bits per dimension too, where pixels have grey levels."""
    if config.likelihood == "bernoulli":
        return row
    bits = lambda nats: evaluation.bits_per_dim(-nats, math.prod(dataset.test.shape[1:]))
    return row | {
        "bits_per_dim": bits(row["nll"]),
        "bits_per_dim_standard_error": bits(row["nll_standard_error"]),
    }


def print_table(config: Config, dataset: Dataset, rows: list[dict[str, Any]]) -> None:
    nats = {"NLL": "{nll:.2f}", "±": "{nll_standard_error:.2f}"}
    bits = {"bits/dim": "{bits_per_dim:.3f}", "±": "{bits_per_dim_standard_error:.3f}"}
    command_line.print_table(
        f"{dataset.name}, {len(dataset.test)} test images of {dataset.num_levels} levels: exact "
        "NLL in nats",
        {
            "model": "{model}",
            **(nats if config.likelihood == "bernoulli" else bits | {"NLL": "{nll:.2f}"}),
            "parameters": "{parameters:,}",
            "training": "{train_seconds:.1f} s",
        },
        rows,
    )


def main(config: Config) -> list[dict[str, Any]]:
    start = time.perf_counter()
    dataset = load(config)
    data.require(dataset, batch_size=config.batch_size, patience=config.patience)
    out = run_directory.begin("pixelcnn", config)
    rows = [baseline(config, dataset)]
    curves = {}
    for name in config.network:
        trained = train(config, dataset, name, out)
        draw(config, dataset, trained.model, out / name / "samples.png")
        estimate = likelihood(trained.model, dataset.test)
        row = {
            "model": name,
            "nll": estimate.nll,
            "nll_standard_error": estimate.standard_error,
            "parameters": state.num_parameters(trained.model),
            "train_seconds": trained.seconds,
        }
        rows.append(figures(config, dataset, row))
        curves[name] = trained.history["log_prob"]
    pictures.save_curves(
        out / "curves.png", curves, x_label="step", y_label="training log p(x) (nats)"
    )
    print_table(config, dataset, rows)
    run_directory.write_results(
        out,
        start,
        units="nats per image, bits per dimension of levels; seconds",
        dataset=dataset.name,
        seed=config.seed,
        rows=rows,
    )
    command_line.print_paths(out, "*/samples.png", "curves.png")
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
