"""Restricted Boltzmann machines by contrastive divergence: python -m experiments.rbm.

CD-1, CD-25 and persistent chains on the digits in about two minutes on two CPU cores, judged by log
p(x): exactly while the hidden units are few, and by annealed importance sampling.
"""

import dataclasses
import functools
import time
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.boltzmann import parts
from experiments.boltzmann.config import Shared
from genmix import evaluation
from genmix.data import Dataset
from genmix.evaluation import pictures
from genmix.families.energy import chain
from genmix.families.energy.restricted_boltzmann import RestrictedBoltzmann
from genmix.objectives import Term, contrastive_divergence
from genmix.runs import command_line, run_directory

Method = Literal["cd-1", "cd-25", "pcd"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Shared):
    """Defaults train on scikit-learn's digits."""

    methods: tuple[Method, ...] = ("cd-1", "cd-25", "pcd")
    hidden: int = 20
    """Hidden units; up to 20 of them log p(x) is exact, too."""

    def __post_init__(self):
        super().__post_init__()
        command_line.require(self, counts=("hidden",), names=("methods",))


def pixel_means(dataset: Dataset) -> np.ndarray:
    """Of the training images, smoothed so that no pixel is always the same."""
    train = parts.vectors(dataset.train)
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


def evaluate(config: Config, dataset: Dataset, model: Any) -> dict[str, Any]:
    """Mean log p(x) of the test images, in nats, by the estimated and by the exact log Z."""
    test = jnp.asarray(parts.vectors(dataset.test))
    unnormalized = float(jnp.mean(jax.vmap(model.log_unnormalized)(test)))
    log_z = parts.log_partition(config, model, jnp.asarray(pixel_means(dataset)))
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
    start = jnp.asarray(parts.vectors(dataset.test[:100]))
    samples = sampled(jax.random.key(config.seed), model, start, 1000)
    pictures.save_samples(directory / "samples.png", np.asarray(samples).reshape(-1, *shape))
    parts.save_filters(directory / "filters.png", model.weights[...], shape)


def main(config: Config) -> list[dict[str, Any]]:
    begin = time.perf_counter()
    dataset = parts.load(config)
    out = run_directory.begin("rbm", config)
    log_px = evaluation.baselines.independent_bernoulli(dataset.train, dataset.test)
    rows: list[dict[str, Any]] = [
        {"model": "independent Bernoulli", "exact_log_prob": float(np.mean(log_px))}
    ]
    for method in config.methods:
        result = parts.train(
            config,
            dataset,
            build(config, dataset),
            term(config, dataset, method),
            out / method,
            label=method,
            steps=config.steps,
            rate=config.learning_rate,
        )
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
