"""Deep Boltzmann machines, by mean field and persistent chains: python -m experiments.dbm.

Two hidden layers on the digits, judged by the variational bound on log p(x) and by importance
sampling from the mean-field posterior; the normalizer is summed, or estimated by annealed
importance sampling.
"""

import dataclasses
import time
from pathlib import Path
from typing import Annotated, Any

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
from genmix.families.deep_boltzmann import DeepBoltzmann
from genmix.training import Fit, Plan, Player, fit, mean_field, run_directory


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Defaults train on scikit-learn's digits."""

    dataset: Annotated[str, tyro.conf.arg(metavar="{" + ",".join(data.NAMES) + ",tfds:NAME}")] = (
        "digits"
    )
    data_dir: Path | None = None
    """Folder that holds mnist/, binarized_mnist/, ...; the digits need none."""
    hidden: tuple[int, ...] = (20, 20)
    """Units of the hidden layers; up to 20 in the odd ones, log Z is exact."""
    steps: int = 10_000
    mean_field_steps: int = 10
    """Of the ascent to the posterior in training; 50 in evaluation."""
    gibbs_steps: int = 1
    """Of each chain in a step of training."""
    batch_size: int = 100
    chains: int = 100
    learning_rate: float = 0.05
    """Of gradient descent at the start; it falls to zero linearly."""
    temperatures: int = 2_000
    """Of annealed importance sampling."""
    paths: int = 100
    """Of annealed importance sampling."""
    particles: int = 1000
    """Of the NLL estimate."""
    seed: int = 0
    out: Path | None = None
    """Directory of the run; runs/dbm/TIME if not given."""
    resume: bool = False
    """Go on with the run in --out, bit for bit."""
    debug: bool = False
    """If a number is not finite, name the operation that made it so; it may go with --resume."""

    def __post_init__(self):
        counts = ("hidden", "steps", "mean_field_steps", "gibbs_steps", "batch_size", "chains")
        command_line.require(self, counts=(*counts, "particles"), positive=("learning_rate",))
        if len(self.hidden) < 2:
            raise ValueError(f"hidden needs two layers or more, got {self.hidden}.")
        for name, least in (("temperatures", 29), ("paths", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}.")


def vectors(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)


def build(config: Config, dataset: Dataset) -> DeepBoltzmann:
    """Small weights, and visible biases that reproduce the means of the data."""
    x = vectors(dataset.train)
    model = DeepBoltzmann((x.shape[1], *config.hidden), rngs=nnx.Rngs(config.seed))
    model.biases[0][...] = jnp.asarray(data.mean_logits(x))
    return model


def train(config: Config, dataset: Dataset, out: Path) -> Fit:
    rng = np.random.default_rng(config.seed)
    sizes = (dataset.train[0].size, *config.hidden)
    states = [rng.integers(0, 2, (config.chains, size)) for size in sizes]
    chains = tuple(jnp.asarray(bits, jnp.float32) for bits in states)
    term = mean_field.persistent(
        chains, config.gibbs_steps, mean_field_steps=config.mean_field_steps
    )
    rate = optax.linear_schedule(config.learning_rate, 0.0, config.steps)
    plan = Plan(
        num_rounds=config.steps,
        batch_size=config.batch_size,
        transform=data.binarize if dataset.binarization == "dynamic" else None,
        rounds_per_call=max(config.steps // 50, 1),
        directory=out / "machine",
        resume=config.resume,
        debug=config.debug,
        label="mean field, persistent chains",
    )
    player = Player(loss=term, optimizer=optax.sgd(rate))
    x = vectors(dataset.train)
    return fit(jax.random.key(config.seed), build(config, dataset), [player], x, plan)


def evaluate(config: Config, dataset: Dataset, model: DeepBoltzmann) -> dict[str, Any]:
    """Test figures, in nats per image, with the exact log Z where there is one."""
    machine = model.restricted()
    mean = jax.nn.sigmoid(machine.visible_bias[...])
    mean = mean.at[: dataset.test[0].size].set(
        jax.nn.sigmoid(jnp.asarray(data.mean_logits(vectors(dataset.train))))
    )
    log_z = evaluation.log_partition(
        jax.random.key(config.seed),
        machine,
        mean,
        num_temperatures=config.temperatures,
        num_paths=config.paths,
    )
    test = jnp.asarray(vectors(dataset.test))
    bounds = jax.jit(jax.vmap(lambda v: model.bound(v, 50)))(test)
    weighted = model.weighted(log_z.value, 50)
    key = jax.random.key(config.seed + 1)
    likelihood = evaluation.log_likelihood(key, weighted, test, num_particles=config.particles)
    return log_z.figures() | {
        "bound": float(jnp.mean(bounds)) - log_z.value,
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
            end = chain.end(key, model.transition, means, 1000)
            return jax.nn.sigmoid(model.field(end, 0))

        return jax.vmap(one)(keys, test)

    keys = jax.random.split(jax.random.key(config.seed), 100)
    samples = sampled(keys, jnp.asarray(vectors(dataset.test[:100])))
    pictures.save_samples(out / "samples.png", np.asarray(samples).reshape(-1, *shape))
    first = np.asarray(model.weights[0][...].T[:100])
    second = np.asarray((model.weights[0][...] @ model.weights[1][...]).T[:100])
    for name, weights in (("filters-1.png", first), ("filters-2.png", second)):
        largest = np.max(np.abs(weights), axis=1, keepdims=True)
        filters = 0.5 + 0.5 * weights / np.maximum(largest, 1e-12)
        pictures.save_samples(out / name, filters.reshape(-1, *shape))


def main(config: Config) -> list[dict[str, Any]]:
    begin = time.perf_counter()
    dataset = data.load(config.dataset, config.data_dir)
    if dataset.num_levels != 2:
        raise ValueError(f"{dataset.name} is grey: this machine has binary units; take bits.")
    out = run_directory.begin("dbm", config)
    log_px = evaluation.baselines.independent_bernoulli(dataset.train, dataset.test)
    rows = [evaluation.baselines.row("independent Bernoulli", log_px)]
    result = train(config, dataset, out)
    figures = evaluate(config, dataset, result.model)
    rows.append({"model": "DBM", "train_seconds": result.seconds} | figures)
    draw(config, dataset, result.model, out)
    command_line.print_table(
        f"{dataset.name}, hidden units {'-'.join(map(str, config.hidden))}: nats per test image",
        {
            "model": "{model}",
            "bound": "{bound:.2f}",
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
    command_line.print_paths(out, "samples.png", "filters-1.png", "filters-2.png")
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
