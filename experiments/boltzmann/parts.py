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

from experiments.boltzmann.config import Shared
from genmix import data, evaluation
from genmix.data import Dataset
from genmix.evaluation import LogPartition, pictures
from genmix.families.energy.restricted_boltzmann import RestrictedBoltzmann
from genmix.objectives import Term, contrastive_divergence
from genmix.runs import command_line, run_directory
from genmix.training import Fit, Plan, Player, fit, layerwise


def load(config: Shared) -> Dataset:
    """The data set, which must be of bits."""
    dataset = data.load(config.dataset, config.data_dir)
    if dataset.num_levels != 2:
        raise ValueError(f"{dataset.name} is grey: this machine has binary units; take bits.")
    return dataset


def vectors(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)


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
    transform: Callable[[Any], Any] = lambda transform: transform,
) -> Fit:
    """Gradient descent at a rate that falls to zero linearly.

    Args:
        transform: what becomes of the transformation of the data, their binarization or None.
    """
    player = Player(loss=term, optimizer=optax.sgd(optax.linear_schedule(rate, 0.0, steps)))
    plan = Plan(
        num_rounds=steps,
        batch_size=config.batch_size,
        transform=transform(data.binarize if dataset.binarization == "dynamic" else None),
        rounds_per_call=max(steps // 50, 1),
        directory=directory,
        resume=config.resume,
        debug=config.debug,
        label=label,
    )
    return fit(jax.random.key(config.seed), model, [player], vectors(dataset.train), plan)


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
        bits = np.random.default_rng(config.seed).integers(0, 2, (config.chains, size))
        result = train(
            config,
            dataset,
            model,
            contrastive_divergence.persistent(jnp.asarray(bits, jnp.float32), 1).of(of),
            out / f"machine{l + 1}",
            label=f"machine {l + 1}",
            steps=steps,
            rate=config.learning_rate,
            transform=lambda transform, below=tuple(below): layerwise.upward(
                below, layerwise.twice(transform) if doubled else transform
            ),
        )
        machines.append(result.model)
        below.append(of(result.model))
        seconds += result.seconds
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


def report(
    config: Any, dataset: Dataset, out: Path, begin: float, rows: Sequence[dict[str, Any]]
) -> None:
    """Table and figures of a machine of several layers."""
    command_line.print_table(
        f"{dataset.name}, hidden units {'-'.join(map(str, config.hidden))}: nats per test image",
        {
            "model": "{model}",
            "bound": "{elbo:.2f}",
            "NLL": "{nll:.2f}",
            "±": "{nll_standard_error:.2f}",
            "log Z": "{log_z:.2f}",
            "by AIS": "{annealed_log_z:.2f} ± {log_z_standard_error:.2f}",
            "training": "{train_seconds:.1f} s",
        },
        rows,
    )
    run_directory.write_results(
        out,
        begin,
        units="nats per image; seconds",
        particles=config.particles,
        seed=config.seed,
        rows=rows,
    )
