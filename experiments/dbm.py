"""Deep Boltzmann machines, by mean field and persistent chains: python -m experiments.dbm.

Two hidden layers on the digits, judged by the variational bound on log p(x) and by importance
sampling from the mean-field posterior; the normalizer is summed, or estimated by annealed
importance sampling. With --pretraining-steps the layers start from machines trained one by one.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments import study
from experiments.boltzmann import parts
from experiments.boltzmann.config import Shared
from genmix import data, evaluation, objectives
from genmix.data import Dataset
from genmix.evaluation import pictures
from genmix.families.energy.deep_boltzmann import DeepBoltzmann, composed
from genmix.mcmc import kernel
from genmix.runs import command_line
from genmix.training.fit import History

SEVERAL = study.Rule(lambda sizes: len(sizes) > 1, "have two layers or more")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Shared):
    """Defaults train on scikit-learn's digits."""

    hidden: Annotated[tuple[study.Count, ...], SEVERAL] = (20, 20)
    """Units of the hidden layers; up to 20 in the odd ones, log Z is exact."""
    pretraining_steps: study.Count | None = None
    """For each layer alone, by persistent contrastive divergence, before all are trained together;
    none if not given."""
    mean_field_steps: study.Count = 10
    """Of the ascent to the posterior in training; 50 in evaluation."""
    gibbs_steps: study.Count = 1
    """Of each chain in a step of training."""
    particles: study.Count = 1000
    """Of the NLL estimate."""


def build(config: Config, dataset: Dataset) -> DeepBoltzmann:
    """Small weights, and visible biases that reproduce the means of the data."""
    x = parts.vectors(dataset.train)
    model = DeepBoltzmann((x.shape[1], *config.hidden), rngs=nnx.Rngs(config.seed))
    model.biases[0][...] = jnp.asarray(data.mean_logits(x))
    return model


def train(
    config: Config, dataset: Dataset, model: DeepBoltzmann, out: Path
) -> tuple[Any, History, float]:
    rng = np.random.default_rng(config.seed)
    sizes = (dataset.train[0].size, *config.hidden)
    states = [rng.integers(0, 2, (config.chains, size)) for size in sizes]
    chains = tuple(jnp.asarray(bits, jnp.float32) for bits in states)
    return parts.train(
        config,
        dataset,
        model,
        objectives.mean_field_contrastive_divergence(
            chains, config.gibbs_steps, mean_field_steps=config.mean_field_steps
        ),
        out / "machine",
        label="mean field, persistent chains",
        steps=config.steps,
        rate=config.learning_rate,
        transform=dataset.transform,
    )


def evaluate(config: Config, dataset: Dataset, model: DeepBoltzmann) -> dict[str, Any]:
    """Test figures, in nats per image, with the exact log Z where there is one."""
    machine = model.restricted()
    mean = jax.nn.sigmoid(machine.visible_bias[...])
    mean = mean.at[: dataset.test[0].size].set(
        jax.nn.sigmoid(jnp.asarray(data.mean_logits(parts.vectors(dataset.train))))
    )
    log_z = parts.log_partition(config, machine, mean)
    test = jnp.asarray(parts.vectors(dataset.test))
    bounds = jax.jit(jax.vmap(lambda v: model.bound(v, 50)))(test)
    weighted = model.weighted(log_z.value, 50)
    key = jax.random.key(config.seed + 1)
    likelihood = evaluation.log_likelihood(key, weighted, test, num_particles=config.particles)
    return log_z.figures() | {
        "elbo": float(jnp.mean(bounds)) - log_z.value,
        "nll": likelihood.nll,
        "nll_standard_error": likelihood.standard_error,
    }


def draw(config: Config, dataset: Dataset, model: DeepBoltzmann, out: Path) -> None:
    """Means of x after chains of 1,000 steps from test images, and the weights of both layers."""
    shape = dataset.test.shape[1:]

    @jax.jit
    def sampled(keys, test):
        def one(key, v):
            means = model.mean_field(v, 50)
            end = kernel.run(key, model.chain_kernel(), means, 1000).position
            return jax.nn.sigmoid(model.field(end, 0))

        return jax.vmap(one)(keys, test)

    keys = jax.random.split(jax.random.key(config.seed), 100)
    samples = sampled(keys, jnp.asarray(parts.vectors(dataset.test[:100])))
    pictures.save_samples(out / "samples.png", np.asarray(samples).reshape(-1, *shape))
    first, second = (weights[...] for weights in model.weights[:2])
    parts.save_filters(out / "filters-1.png", first, shape)
    parts.save_filters(out / "filters-2.png", first @ second, shape)


def stages(config: Config, dataset: Dataset, out: Path) -> list[study.Row]:
    """Layers one by one where asked for, then all together: each stage's figures."""
    model, seconds, rows = build(config, dataset), 0.0, []
    if config.pretraining_steps is not None:
        machines, seconds = parts.train_by_layers(
            config, dataset, config.hidden, out, steps=config.pretraining_steps, doubled=True
        )
        model = composed(machines)
        figures = evaluate(config, dataset, model)
        rows.append({"model": "layer by layer", "train_seconds": seconds, **figures})
    trained, _, more = train(config, dataset, model, out)
    figures = evaluate(config, dataset, trained)
    draw(config, dataset, trained, out)
    return [*rows, {"model": "DBM", "train_seconds": seconds + more, **figures}]


def experiment(config: Config) -> study.Study:
    dataset = config.load()
    return parts.layered(config, dataset, lambda out: stages(config, dataset, out))


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("dbm", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
