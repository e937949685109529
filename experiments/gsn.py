"""Generative stochastic networks on the digits, by walkback training: python -m experiments.gsn.

A denoising autoencoder, and the same trained to walk back from where its own chain goes. Judged by
the conservative estimate of log p(x) that states of the chain give.
"""

import dataclasses
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments import study
from genmix import evaluation
from genmix.data import Dataset
from genmix.evaluation import pictures
from genmix.families import Bernoulli
from genmix.families.energy.generative_stochastic import GenerativeStochastic
from genmix.families.energy.salt_and_pepper import SaltAndPepper
from genmix.nets import MLP
from genmix.objectives import walkback
from genmix.runs import command_line
from genmix.training import Player


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.OnImages):
    """Defaults train on scikit-learn's digits."""

    walkback: study.Each[study.Count] = (1, 3)
    """Steps of the chain in training; 1 is the denoising autoencoder."""
    corruption: Annotated[
        float, study.Rule(lambda value: 0 < value <= 1, "be above 0 and at most 1")
    ] = 0.4
    """Probability that a pixel is replaced by a fair coin."""
    hidden: study.Count = 200
    """Width of the two hidden layers."""
    steps: study.Count = 10_000
    learning_rate: study.Positive = 2e-3
    """At the start; it falls to zero along a cosine."""
    chains: study.Count = 100
    burn_in: study.Count = 200
    """Steps of the chains that are thrown away."""
    states: study.Count = 100
    """Steps of each chain whose states make the estimate."""


def build(config: Config, dataset: Dataset) -> GenerativeStochastic:
    shape, rngs = dataset.train.shape[1:], nnx.Rngs(config.seed)
    network = MLP(shape, (config.hidden,) * 2, shape, activation=jax.nn.silu, rngs=rngs)
    return GenerativeStochastic(SaltAndPepper(config.corruption), Bernoulli(network))


def run_chains(config: Config, model: Any, start: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Corrupted states h of chains from each start, and means of x given them, [t, chains, ...]."""

    def run(x, key):
        def step(x, i):
            keys = jax.random.split(jax.random.fold_in(key, i), (2, len(x)))
            h = jax.vmap(model.corruption.sample)(keys[0], x)
            means = jax.vmap(model.reconstruction.mean)(h)
            return jax.vmap(model.reconstruction.sample)(keys[1], h), (h, means)

        _, visited = jax.lax.scan(step, x, jnp.arange(config.burn_in + config.states))
        return jax.tree.map(lambda a: a[config.burn_in :], visited)

    return jax.jit(run)(start, jax.random.key(config.seed + 1))


def evaluate(
    dataset: Dataset, model: GenerativeStochastic, states: jax.Array
) -> tuple[np.ndarray, dict[str, Any]]:
    """Conservative log p(x) of each test image, and the reconstruction that was trained for."""
    flat = states.reshape(-1, *states.shape[2:])
    log_px = evaluation.conservative_log_likelihood(model.reconstruction, flat, dataset.test)
    term = walkback(1)
    test = jnp.asarray(dataset.test)
    _, (metrics, _) = jax.jit(lambda key: term(model, key, test, ()))(jax.random.key(0))
    return log_px, {"reconstruction": float(metrics["reconstruction"])}


def measure(config: Config, dataset: Dataset, result: study.Result) -> dict[str, Any]:
    """Figures of the states of chains that start at fair coins, and a picture of the chains."""
    shape = dataset.test.shape[1:]
    start = jax.random.bernoulli(config.key, shape=(config.chains, *shape)).astype(jnp.float32)
    states, means = run_chains(config, result.model, start)
    log_px, figures = evaluate(dataset, result.model, states)
    images = np.asarray(means[:20, :10]).swapaxes(0, 1).reshape(-1, *shape)
    pictures.save_samples(result.directory / "chains.png", images, columns=20)
    return evaluation.baselines.row(result.name, log_px) | figures


def experiment(config: Config) -> study.Study:
    dataset = config.load()
    if dataset.num_levels != 2:
        raise ValueError(f"{dataset.name} is grey: this network draws bits; take a binary set.")
    variant = lambda num_steps: study.Variant(
        name=f"walkback of {num_steps}",
        folder=f"walkback{num_steps}",
        row={},
        build=lambda: build(config, dataset),
        players=[Player(loss=walkback(num_steps), optimizer=optax.adam(config.falling()))],
        data=dataset.train,
        plan=config.plan(transform=dataset.transform),
    )
    columns = {
        "model": "{model}",
        **study.NLL,
        "reconstruction": "{reconstruction:.2f}",
        "training": "{train_seconds:.1f} s",
    }
    alone = evaluation.baselines.independent_bernoulli(dataset.train, dataset.test)
    title = "{dataset}: conservative NLL in nats, of {num_states} states"
    return study.Study(
        variants=[variant(num_steps) for num_steps in config.walkback],
        before=[evaluation.baselines.row("independent Bernoulli", alone)],
        measure=lambda result: measure(config, dataset, result),
        tables=[study.Table(title, columns)],
        facts={"dataset": dataset.name, "num_states": config.chains * config.states},
        units="nats per image; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("gsn", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
