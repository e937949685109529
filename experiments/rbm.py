"""Restricted Boltzmann machines by contrastive divergence: python -m experiments.rbm.

CD-1, CD-25 and persistent chains on the digits in about two minutes on two CPU cores, judged by log
p(x): exactly while the hidden units are few, and by annealed importance sampling.
"""

import dataclasses
import datetime
import functools
import math
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from flax import nnx
from rich.console import Console
from rich.table import Table

from genmix import command_line, data, evaluation
from genmix.data import Dataset
from genmix.evaluation import pictures
from genmix.families import restricted_boltzmann
from genmix.families.restricted_boltzmann import RestrictedBoltzmann
from genmix.training import Plan, Player, Term, contrastive_divergence, fit, run_directory

Method = Literal["cd-1", "cd-25", "pcd"]
EXACT_UP_TO = 20
"""Hidden units whose states are summed over."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Defaults train on scikit-learn's digits."""

    dataset: Annotated[str, tyro.conf.arg(metavar="{" + ",".join(data.NAMES) + ",tfds:NAME}")] = (
        "digits"
    )
    data_dir: Path | None = None
    """Folder that holds mnist/, binarized_mnist/, ...; the digits need none."""
    methods: tuple[Method, ...] = ("cd-1", "cd-25", "pcd")
    hidden: int = 20
    """Hidden units; up to 20 of them log p(x) is exact, too."""
    steps: int = 10_000
    batch_size: int = 100
    chains: int = 100
    """Persistent chains of pcd."""
    learning_rate: float = 0.05
    """Of gradient descent at the start; it falls to zero linearly."""
    temperatures: int = 2_000
    """Of annealed importance sampling; Salakhutdinov & Murray take 14,500."""
    paths: int = 100
    """Of annealed importance sampling."""
    seed: int = 0
    out: Path | None = None
    """Directory of the run; runs/rbm/TIME if not given."""
    resume: bool = False
    """Go on with the run in --out, bit for bit."""
    debug: bool = False
    """If a number is not finite, name the operation that made it so; it may go with --resume."""

    def __post_init__(self):
        for name in ("hidden", "steps", "batch_size", "chains"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name, least in (("temperatures", 29), ("paths", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}.")
        if not self.methods:
            raise ValueError("methods needs at least one name, got none.")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}.")
        if self.resume and self.out is None:
            raise ValueError("resume needs --out DIR, the run to go on with.")


def vectors(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)


def pixel_means(dataset: Dataset) -> np.ndarray:
    """Of the training images, smoothed so that no pixel is always the same."""
    train = vectors(dataset.train)
    smoothed = (np.sum(train, axis=0, dtype=np.float64) + 0.5) / (len(train) + 1)
    return np.asarray(smoothed, np.float32)


def build(config: Config, dataset: Dataset) -> RestrictedBoltzmann:
    """Small weights, and visible biases that reproduce the means of the data (Hinton, 2012)."""
    mean = pixel_means(dataset)
    model = RestrictedBoltzmann(len(mean), config.hidden, rngs=nnx.Rngs(config.seed))
    model.visible_bias[...] = model.visible.field_of_mean(jnp.asarray(mean))
    return model


def term(config: Config, dataset: Dataset, method: Method) -> Term:
    if method == "pcd":
        bits = np.random.default_rng(config.seed).random((config.chains, 1)) < pixel_means(dataset)
        return contrastive_divergence.persistent(jnp.asarray(bits, jnp.float32), 1)
    return contrastive_divergence.contrastive_divergence(int(method.removeprefix("cd-")))


def train(config: Config, dataset: Dataset, method: Method, directory: Path) -> Any:
    rate = optax.linear_schedule(config.learning_rate, 0.0, config.steps)
    player = Player(loss=term(config, dataset, method), optimizer=optax.sgd(rate))
    plan = Plan(
        num_rounds=config.steps,
        batch_size=config.batch_size,
        transform=data.binarize if dataset.binarization == "dynamic" else None,
        rounds_per_call=max(config.steps // 50, 1),
        directory=directory,
        resume=config.resume,
        debug=config.debug,
        label=method,
    )
    x = vectors(dataset.train)
    return fit(jax.random.key(config.seed), build(config, dataset), [player], x, plan)


def annealed_log_partition(config: Config, dataset: Dataset, model: Any) -> tuple[float, float]:
    """Log of the mean of the estimates of Z, and its standard error (delta method), in nats."""
    schedule = restricted_boltzmann.salakhutdinov_schedule(config.temperatures)
    mean = jnp.asarray(pixel_means(dataset))
    path = lambda key, model: restricted_boltzmann.log_partition_ais(key, model, mean, schedule)
    keys = jax.random.split(jax.random.key(config.seed), config.paths)
    estimates = np.asarray(jax.jit(jax.vmap(path, (0, None)))(keys, model), np.float64)
    weights = np.exp(estimates - estimates.max())
    error = np.std(weights, ddof=1) / (np.mean(weights) * math.sqrt(config.paths))
    return float(np.log(np.mean(weights)) + estimates.max()), float(error)


def evaluate(config: Config, dataset: Dataset, model: Any) -> dict[str, Any]:
    """Mean log p(x) of the test images, in nats, by the estimated and by the exact log Z."""
    test = jnp.asarray(vectors(dataset.test))
    unnormalized = float(jnp.mean(jax.vmap(model.log_unnormalized)(test)))
    log_z, error = annealed_log_partition(config, dataset, model)
    figures = {"log_z": log_z, "log_z_standard_error": error, "log_prob": unnormalized - log_z}
    if config.hidden <= EXACT_UP_TO:
        exact = float(jax.jit(restricted_boltzmann.log_partition)(model))
        figures |= {"exact_log_z": exact, "exact_log_prob": unnormalized - exact}
    return figures


@functools.partial(jax.jit, static_argnames="num_steps")
def sampled(key: jax.Array, model: Any, v: jax.Array, num_steps: int) -> jax.Array:
    """Means of x at the end of chains of num_steps from each v."""

    def chain(key, v):
        step = lambda i, v: model.transition(jax.random.fold_in(key, i), v)
        v = jax.lax.fori_loop(0, num_steps, step, v)
        h = jax.nn.sigmoid(model.hidden_field(v))
        return model.mean(h)

    return jax.vmap(chain)(jax.random.split(key, len(v)), v)


def draw(config: Config, dataset: Dataset, model: Any, directory: Path) -> None:
    """Samples after 1,000 steps from test images, and the weights of hidden units, as pictures."""
    shape = dataset.test.shape[1:]
    start = jnp.asarray(vectors(dataset.test[:100]))
    samples = sampled(jax.random.key(config.seed), model, start, 1000)
    pictures.save_samples(directory / "samples.png", np.asarray(samples).reshape(-1, *shape))
    weights = np.asarray(model.weights[...].T[:100])
    largest = np.max(np.abs(weights), axis=1, keepdims=True)
    filters = 0.5 + 0.5 * weights / np.maximum(largest, 1e-12)
    pictures.save_samples(directory / "filters.png", filters.reshape(-1, *shape))


def print_table(config: Config, dataset: Dataset, rows: list[dict[str, Any]]) -> None:
    title = f"{dataset.name}, {config.hidden} hidden units: mean test log p(x) in nats"
    table = Table("model", "by AIS", "± of log Z", "exactly", "training", title=title)
    for row in rows:
        exact = row.get("exact_log_prob")
        table.add_row(
            row["model"],
            f"{row['log_prob']:.2f}" if "log_prob" in row else "",
            f"{row['log_z_standard_error']:.2f}" if "log_z" in row else "",
            "" if exact is None else f"{exact:.2f}",
            f"{row['train_seconds']:.1f} s" if "train_seconds" in row else "",
        )
    Console().print(table)


def main(config: Config) -> list[dict[str, Any]]:
    begin = time.perf_counter()
    dataset = data.load(config.dataset, config.data_dir)
    if dataset.num_levels != 2:
        raise ValueError(f"{dataset.name} is grey: this machine has binary units; take bits.")
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    out = config.out or Path("runs") / "rbm" / stamp
    settings = dataclasses.asdict(config)
    for local in ("out", "resume", "debug", "data_dir"):
        settings.pop(local)
    run_directory.prepare(out, settings, resume=config.resume)
    log_px = evaluation.baselines.independent_bernoulli(dataset.train, dataset.test)
    rows: list[dict[str, Any]] = [
        {"model": "independent Bernoulli", "exact_log_prob": float(np.mean(log_px))}
    ]
    for method in config.methods:
        result = train(config, dataset, method, out / method)
        figures = evaluate(config, dataset, result.model)
        draw(config, dataset, result.model, out / method)
        rows.append({"model": method, "train_seconds": result.seconds} | figures)
    print_table(config, dataset, rows)
    run_directory.write_json(
        out / "results.json",
        {
            "units": "nats per image; seconds",
            "dataset": dataset.name,
            "seed": config.seed,
            "rows": rows,
            "wall_seconds": time.perf_counter() - begin,
            "versions": run_directory.versions(),
            "git_commit": run_directory.git_commit(),
        },
    )
    print(f"pictures: {out}/*/samples.png, {out}/*/filters.png; figures: {out}/results.json")
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
