"""Autoregressive models of images, PixelCNN among others: python -m experiments.pixelcnn.

Images are binary or, with --likelihood logistic-mixture, have their grey levels, as in PixelCNN++.
log p(x) is exact, and so is each draw, at about the cost of one pass. Defaults train on
scikit-learn's digits in minutes on two CPU cores.
"""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import optax
from flax import nnx

from experiments import study
from genmix import data, evaluation, objectives
from genmix.data import Dataset
from genmix.densities.bernoulli import Bernoulli
from genmix.densities.discretized_logistic_mixture import DiscretizedLogisticMixture
from genmix.evaluation import pictures
from genmix.families import Autoregressive, MaskMixture
from genmix.nets import MADE, NADE, DiagonalBiLSTM, GatedPixelCNN, RowLSTM, StepwiseMADE, state
from genmix.runs import command_line
from genmix.training import Player, Validation

Network = Literal["made", "nade", "pixelcnn", "row-lstm", "bilstm"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.OnImages):
    """One network after the other is trained on the same images."""

    dataset: Literal[
        "digits", "mnist", "fashion-mnist", "binarized-mnist", "caltech-silhouettes", "frey-faces"
    ] = "digits"
    likelihood: Literal["bernoulli", "logistic-mixture"] = "bernoulli"
    """Of a pixel: of bits in nats, or of grey levels (logistics cut into bins, ten mixed) in bits
    per dimension."""
    network: study.Each[Network] = ("made", "nade", "pixelcnn")
    layers: study.Count = 5
    """Layers of pixelcnn; row-lstm and bilstm have two."""
    width: study.Count = 16
    """Channels of pixelcnn, row-lstm and bilstm."""
    hidden: study.Count | None = None
    """Units of made and nade; 200 for the digits, 1,000 for larger images."""
    masks: study.Count = 1
    """Orders and masks of made, in turn in training; p(x) is the mean over all of them."""
    steps: study.Count = 3000
    batch_size: study.Count = 50
    learning_rate: study.Positive = 2e-3
    """At the start; it falls to zero along a cosine."""
    patience: study.Count | None = None
    """Stop after this many twentieths of the run without a better validation likelihood."""

    def __post_init__(self):
        super().__post_init__()
        if self.masks > 1 and "made" not in self.network:
            raise ValueError(f"masks are those of made, got {self.masks} without --network made.")
        if self.likelihood == "bernoulli" and self.dataset == "frey-faces":
            raise ValueError("frey-faces has grey levels only: use --likelihood logistic-mixture.")
        if self.likelihood == "logistic-mixture" and self.dataset not in data.LEVELS:
            raise ValueError(
                f"{self.dataset} has bits only: use --likelihood bernoulli, or one of "
                f"{', '.join(data.LEVELS)}."
            )


def load(config: Config) -> Dataset:
    """Bits or grey levels, as the likelihood wants them."""
    return config.load(None if config.likelihood == "bernoulli" else "levels")


def build(config: Config, dataset: Dataset, name: str) -> Autoregressive | MaskMixture:
    levels: Any = Bernoulli()
    if config.likelihood == "logistic-mixture":
        levels = DiscretizedLogisticMixture(num_levels=dataset.num_levels)
    shape, rngs = dataset.train.shape[1:], nnx.Rngs(config.seed)
    dim, pixels = math.prod(shape), shape[:2]
    hidden = config.hidden or (200 if dim < 500 else 1000)
    networks: dict[str, Callable[[], Any]] = {
        "made": lambda: StepwiseMADE(MADE(dim, (hidden,), direct=True, rngs=rngs)),
        "nade": lambda: NADE(dim, hidden, rngs=rngs),
        "pixelcnn": lambda: GatedPixelCNN(pixels, config.width, config.layers, rngs=rngs),
        "row-lstm": lambda: RowLSTM(pixels, config.width, 2, rngs=rngs),
        "bilstm": lambda: DiagonalBiLSTM(pixels, config.width, 2, rngs=rngs),
    }
    model = Autoregressive(networks[name](), levels, shape=shape)
    if name == "made" and config.masks > 1:
        return MaskMixture(model, config.masks, seed=config.seed)
    return model


def variant(config: Config, dataset: Dataset, name: str) -> study.Variant:
    every = max(config.steps // 20, 1)
    score = lambda model: -likelihood(model, dataset.valid).nll
    has_valid = len(dataset.valid) > 0
    bound = objectives.masked_elbo if name == "made" and config.masks > 1 else objectives.elbo
    optimizer = optax.chain(optax.clip_by_global_norm(100.0), optax.adam(config.falling()))
    return study.Variant(
        name=name,
        row={"model": name},
        build=lambda: build(config, dataset, name),
        players=[Player(loss=bound(name="log_prob"), optimizer=optimizer)],
        data=dataset.train,
        plan=config.plan(
            reports=20,
            transform=dataset.transform,
            validation=Validation(score, every, config.patience) if has_valid else None,
        ),
    )


def likelihood(model: Any, x: np.ndarray) -> evaluation.LogLikelihood:
    return evaluation.log_likelihood(
        jax.random.key(0), model, x, num_particles=1, rows_per_chunk=200
    )


def draw(config: Config, dataset: Dataset, model: Any, path: Path) -> None:
    keys = jax.random.split(config.key, 100)
    # A mixture over masks has a copy of the weights for each image that is drawn with others.
    together = 5 if isinstance(model, MaskMixture) else 100
    x = jax.jit(lambda model: jax.lax.map(model.sample, keys, batch_size=together))(model)
    pictures.save_samples(path, x / (dataset.num_levels - 1))


def evaluate(dataset: Dataset, model: Any) -> dict[str, Any]:
    estimate = likelihood(model, dataset.test)
    bits = lambda nats: evaluation.bits_per_dim(-nats, math.prod(dataset.test.shape[1:]))
    return {
        "nll": estimate.nll,
        "nll_standard_error": estimate.standard_error,
        "bits_per_dim": bits(estimate.nll),
        "bits_per_dim_standard_error": bits(estimate.standard_error),
        "parameters": state.num_parameters(model),
    }


def experiment(config: Config) -> study.Study:
    dataset = load(config)
    data.require(dataset, batch_size=config.batch_size, patience=config.patience)
    nats = {"NLL": "{nll:.2f}", "±": "{nll_standard_error:.2f}"}
    bits = {"bits/dim": "{bits_per_dim:.3f}", "±": "{bits_per_dim_standard_error:.3f}"}
    columns = {
        "model": "{model}",
        **(nats if config.likelihood == "bernoulli" else bits | {"NLL": "{nll:.2f}"}),
        "parameters": "{parameters:,}",
        "training": "{train_seconds:.1f} s",
    }
    title = (
        f"{dataset.name}, {len(dataset.test)} test images of {dataset.num_levels} levels: exact "
        "NLL in nats"
    )
    return study.Study(
        before=[evaluation.baselines.independent_pixels(dataset)],
        variants=[variant(config, dataset, name) for name in config.network],
        measure=lambda it: evaluate(dataset, it.model),
        draw_each=lambda it: draw(config, dataset, it.model, it.directory / "samples.png"),
        draw=lambda out, found: study.save_curves(
            out, found, "log_prob", "training log p(x) (nats)"
        ),
        tables=[study.Table(title, columns)],
        facts={"dataset": dataset.name},
        units="nats per image, bits per dimension of levels; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("pixelcnn", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
