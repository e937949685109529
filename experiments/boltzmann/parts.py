"""Data, training, normalizer and report of Boltzmann machines."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments import study
from experiments.boltzmann.config import Shared
from genmix import data, evaluation, objectives
from genmix.data import Dataset
from genmix.evaluation import LogPartition, pictures
from genmix.families.energy.restricted_boltzmann import RestrictedBoltzmann
from genmix.objectives import Term
from genmix.training import Player, layerwise
from genmix.training.fit import History
from genmix.training.rounds import Transform


def vectors(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)


def player(term: Term, rate: float, steps: int) -> Player:
    """Gradient descent at a rate that falls to zero linearly."""
    return Player(loss=term, optimizer=optax.sgd(optax.linear_schedule(rate, 0.0, steps)))


def train(
    config: Shared,
    dataset: Dataset,
    model: Any,
    term: Term,
    directory: Path,
    *,
    label: str,
    steps: int,
    rate: float,
    transform: Transform | None,
) -> tuple[Any, History, float]:
    """One stage of a training whose later stages need what it finds."""
    stage = study.Variant(
        name=label,
        row={},
        build=lambda: model,
        players=[player(term, rate, steps)],
        data=vectors(dataset.train),
        plan=config.plan(steps, transform=transform),
    )
    return stage.run(config, directory)


def train_by_layers(
    config: Shared,
    dataset: Dataset,
    hidden: Sequence[int],
    out: Path,
    *,
    steps: int,
    doubled: bool = False,
) -> tuple[list[RestrictedBoltzmann], float]:
    """Machines by persistent chains, each on the hidden states of those below it, and the seconds.

    Args:
        doubled: for a deep Boltzmann machine, train the first with two copies of its visible units
            and the last with two of its hidden ones.
    """
    machines, below, seconds = [], [], 0.0
    bits = dataset.transform
    first = layerwise.twice(bits) if doubled else bits
    sizes = (dataset.train[0].size, *hidden)
    for l, (num_visible, num_hidden) in enumerate(itertools.pairwise(sizes)):
        model = RestrictedBoltzmann(num_visible, num_hidden, rngs=nnx.Rngs(config.seed + l))
        if l == 0:
            model.visible_bias[...] = jnp.asarray(data.mean_logits(vectors(dataset.train)))
        copies = {
            "visible": 2 if doubled and l == 0 else 1,
            "hidden": 2 if doubled and l + 1 == len(hidden) else 1,
        }
        of = lambda model, copies=copies: model.copied(**copies)
        size = num_visible * copies["visible"]
        states = np.random.default_rng(config.seed).integers(0, 2, (config.chains, size))
        term = objectives.persistent_contrastive_divergence(jnp.asarray(states, jnp.float32), 1)
        machine, _, elapsed = train(
            config,
            dataset,
            model,
            term.of(of),
            out / f"machine{l + 1}",
            label=f"machine {l + 1}",
            steps=steps,
            rate=config.learning_rate,
            transform=layerwise.upward(tuple(below), first),
        )
        machines.append(machine)
        below.append(of(machine))
        seconds += elapsed
    return machines, seconds


def log_partition(config: Shared, machine: RestrictedBoltzmann, mean: Any) -> LogPartition:
    return evaluation.log_partition(
        jax.random.key(config.seed),
        machine,
        mean,
        num_temperatures=config.temperatures,
        num_paths=config.paths,
    )


def save_filters(path: Path, weights: Any, shape: Sequence[int]) -> None:
    """Weights [visible, hidden] of at most 100 units as pictures: 0 is grey."""
    units = np.asarray(weights).T[:100]
    largest = np.max(np.abs(units), axis=1, keepdims=True)
    filters = 0.5 + 0.5 * units / np.maximum(largest, 1e-12)
    pictures.save_samples(path, filters.reshape(-1, *shape))


def layered(
    config: Any, dataset: Dataset, stages: Callable[[Path], Sequence[study.Row]]
) -> study.Study:
    """The study of a machine of several layers, whose stages, trained in turn, are its rows."""
    columns = {
        "model": "{model}",
        "bound": "{elbo:.2f}",
        "NLL": "{nll:.2f}",
        "±": "{nll_standard_error:.2f}",
        "log Z": "{log_z:.2f}",
        "by AIS": "{annealed_log_z:.2f} ± {log_z_standard_error:.2f}",
        "training": "{train_seconds:.1f} s",
    }
    alone = evaluation.baselines.independent_bernoulli(dataset.train, dataset.test)
    title = "{dataset}, hidden units {layers}: nats per test image"
    return study.Study(
        variants=[study.Computation(name="stages", row={}, compute=stages, folder=".")],
        before=[evaluation.baselines.row("independent Bernoulli", alone)],
        measure=lambda result: result.model,
        tables=[study.Table(title, columns)],
        facts={"dataset": dataset.name, "layers": "-".join(map(str, config.hidden))},
        units="nats per image; seconds",
    )
