"""Restricted Boltzmann machines by contrastive divergence: python -m experiments.rbm.

CD-1, CD-25 and persistent chains on the digits in about two minutes on two CPU cores, judged by log
p(x): exactly while the hidden units are few, and by annealed importance sampling.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments import study
from experiments.boltzmann import parts
from experiments.boltzmann.config import Shared
from genmix import evaluation, objectives
from genmix.data import Dataset
from genmix.evaluation import pictures
from genmix.families.energy.restricted_boltzmann import RestrictedBoltzmann
from genmix.mcmc import kernel
from genmix.objectives import Term
from genmix.runs import command_line

Method = Literal["cd-1", "cd-25", "pcd"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Shared):
    """Defaults train on scikit-learn's digits."""

    methods: study.Each[Method] = ("cd-1", "cd-25", "pcd")
    hidden: study.Count = 20
    """Hidden units; up to 20 of them log p(x) is exact, too."""


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
        return objectives.persistent_contrastive_divergence(jnp.asarray(bits, jnp.float32), 1)
    return objectives.contrastive_divergence(int(method.removeprefix("cd-")))


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
        end = kernel.run(key, model.chain_kernel(), v, num_steps).position
        return model.mean(jax.nn.sigmoid(model.hidden_field(end)))

    return jax.vmap(one)(jax.random.split(key, len(v)), v)


def draw(config: Config, dataset: Dataset, model: Any, directory: Path) -> None:
    """Samples after 1,000 steps from test images, and the weights of hidden units, as pictures."""
    shape = dataset.test.shape[1:]
    start = jnp.asarray(parts.vectors(dataset.test[:100]))
    samples = sampled(jax.random.key(config.seed), model, start, 1000)
    pictures.save_samples(directory / "samples.png", np.asarray(samples).reshape(-1, *shape))
    parts.save_filters(directory / "filters.png", model.weights[...], shape)


def experiment(config: Config) -> study.Study:
    dataset = config.load()
    variant = lambda method: study.Variant(
        name=method,
        row={"model": method},
        build=lambda: build(config, dataset),
        players=[parts.player(term(config, dataset, method), config.learning_rate, config.steps)],
        data=parts.vectors(dataset.train),
        plan=config.plan(transform=dataset.transform),
    )
    columns = {
        "model": "{model}",
        "by AIS": "{log_prob:.2f}",
        "± of log Z": "{log_z_standard_error:.2f}",
        "exactly": "{exact_log_prob:.2f}",
        "training": "{train_seconds:.1f} s",
    }
    log_px = evaluation.baselines.independent_bernoulli(dataset.train, dataset.test)
    alone = {"model": "independent Bernoulli", "exact_log_prob": float(np.mean(log_px))}
    return study.Study(
        variants=[variant(method) for method in config.methods],
        before=[alone],
        measure=lambda result: evaluate(config, dataset, result.model),
        draw_each=lambda result: draw(config, dataset, result.model, result.directory),
        tables=[
            study.Table("{dataset}, {hidden} hidden units: mean test log p(x) in nats", columns)
        ],
        facts={"dataset": dataset.name},
        units="nats per image; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("rbm", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
