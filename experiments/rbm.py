"""Restricted Boltzmann machines by contrastive divergence: python -m experiments.rbm.

CD-1, CD-25 and persistent chains on the digits in about two minutes on two CPU cores, judged by log
p(x): exactly while the hidden units are few, and by annealed importance sampling.
"""

import dataclasses
import functools
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from flax import nnx

from genmix import command_line, data, evaluation
from genmix.data import Dataset
from genmix.evaluation import pictures
from genmix.families import chain
from genmix.families.restricted_boltzmann import RestrictedBoltzmann
from genmix.training import Plan, Player, Term, contrastive_divergence, fit, run_directory

Method = Literal["cd-1", "cd-25", "pcd"]


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
        counts = ("hidden", "steps", "batch_size", "chains")
        command_line.require(self, counts=counts, positive=("learning_rate",), names=("methods",))
        for name, least in (("temperatures", 29), ("paths", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}.")


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


def evaluate(config: Config, dataset: Dataset, model: Any) -> dict[str, Any]:
    """Mean log p(x) of the test images, in nats, by the estimated and by the exact log Z."""
    test = jnp.asarray(vectors(dataset.test))
    unnormalized = float(jnp.mean(jax.vmap(model.log_unnormalized)(test)))
    log_z = evaluation.log_partition(
        jax.random.key(config.seed),
        model,
        jnp.asarray(pixel_means(dataset)),
        num_temperatures=config.temperatures,
        num_paths=config.paths,
    )
    figures = {
        "log_z": log_z.annealed,
        "log_z_standard_error": log_z.standard_error,
        "log_prob": unnormalized - log_z.annealed,
    }
    if log_z.exact is not None:
        figures |= {"exact_log_z": log_z.exact, "exact_log_prob": unnormalized - log_z.exact}
    return figures


@functools.partial(jax.jit, static_argnames="num_steps")
def sampled(key: jax.Array, model: Any, v: jax.Array, num_steps: int) -> jax.Array:
    """Means of x at the end of chains of num_steps from each v."""

    def one(key, v):
        end = chain.end(key, model.transition, v, num_steps)
        return model.mean(jax.nn.sigmoid(model.hidden_field(end)))

    return jax.vmap(one)(jax.random.split(key, len(v)), v)


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


def main(config: Config) -> list[dict[str, Any]]:
    begin = time.perf_counter()
    dataset = data.load(config.dataset, config.data_dir)
    if dataset.num_levels != 2:
        raise ValueError(f"{dataset.name} is grey: this machine has binary units; take bits.")
    out = run_directory.begin("rbm", config)
    log_px = evaluation.baselines.independent_bernoulli(dataset.train, dataset.test)
    rows: list[dict[str, Any]] = [
        {"model": "independent Bernoulli", "exact_log_prob": float(np.mean(log_px))}
    ]
    for method in config.methods:
        result = train(config, dataset, method, out / method)
        figures = evaluate(config, dataset, result.model)
        draw(config, dataset, result.model, out / method)
        rows.append({"model": method, "train_seconds": result.seconds} | figures)
    command_line.print_table(
        f"{dataset.name}, {config.hidden} hidden units: mean test log p(x) in nats",
        {
            "model": "{model}",
            "by AIS": "{log_prob:.2f}",
            "± of log Z": "{log_z_standard_error:.2f}",
            "exactly": "{exact_log_prob:.2f}",
            "training": "{train_seconds:.1f} s",
        },
        rows,
    )
    run_directory.write_results(
        out,
        begin,
        units="nats per image; seconds",
        dataset=dataset.name,
        seed=config.seed,
        rows=rows,
    )
    command_line.print_paths(out, "*/samples.png", "*/filters.png")
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
