"""Generative stochastic networks on the digits, by walkback training: python -m experiments.gsn.

A denoising autoencoder, and the same trained to walk back from where its own chain goes. Judged by
the conservative estimate of log p(x) that states of the chain give.
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

from genmix import data, evaluation
from genmix.data import Dataset
from genmix.evaluation import pictures
from genmix.families import Bernoulli
from genmix.families.energy.generative_stochastic import GenerativeStochastic
from genmix.families.energy.salt_and_pepper import SaltAndPepper
from genmix.nets import MLP
from genmix.objectives import walkback
from genmix.runs import command_line, run_directory
from genmix.training import Fit, Plan, Player, fit


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Defaults train on scikit-learn's digits."""

    dataset: Annotated[str, tyro.conf.arg(metavar="{" + ",".join(data.NAMES) + ",tfds:NAME}")] = (
        "digits"
    )
    data_dir: Path | None = None
    """Folder that holds mnist/, binarized_mnist/, ...; the digits need none."""
    walkback: tuple[int, ...] = (1, 3)
    """Steps of the chain in training; 1 is the denoising autoencoder."""
    corruption: float = 0.4
    """Probability that a pixel is replaced by a fair coin."""
    hidden: int = 200
    """Width of the two hidden layers."""
    steps: int = 10_000
    batch_size: int = 100
    learning_rate: float = 2e-3
    """At the start; it falls to zero along a cosine."""
    chains: int = 100
    burn_in: int = 200
    """Steps of the chains that are thrown away."""
    states: int = 100
    """Steps of each chain whose states make the estimate."""
    seed: int = 0
    out: Path | None = None
    """Directory of the run; runs/gsn/TIME if not given."""
    resume: bool = False
    """Go on with the run in --out, bit for bit."""
    debug: bool = False
    """If a number is not finite, name the operation that made it so; it may go with --resume."""

    def __post_init__(self):
        counts = ("walkback", "hidden", "steps", "batch_size", "chains", "burn_in", "states")
        command_line.require(self, counts=counts, positive=("learning_rate",))
        if not 0 < self.corruption <= 1:
            raise ValueError(f"corruption must be above 0 and at most 1, got {self.corruption}.")


def train(config: Config, dataset: Dataset, num_steps: int, out: Path) -> Fit:
    shape, rngs = dataset.train.shape[1:], nnx.Rngs(config.seed)
    network = MLP(shape, (config.hidden,) * 2, shape, activation=jax.nn.silu, rngs=rngs)
    model = GenerativeStochastic(SaltAndPepper(config.corruption), Bernoulli(network))
    rate = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    player = Player(loss=walkback.walkback(num_steps), optimizer=optax.adam(rate))
    plan = Plan(
        num_rounds=config.steps,
        batch_size=config.batch_size,
        transform=data.binarize if dataset.binarization == "dynamic" else None,
        rounds_per_call=max(config.steps // 50, 1),
        directory=out / f"walkback{num_steps}",
        resume=config.resume,
        debug=config.debug,
        label=f"walkback of {num_steps}",
    )
    return fit(jax.random.key(config.seed), model, [player], dataset.train, plan)


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
    term = walkback.walkback(1)
    test = jnp.asarray(dataset.test)
    _, (metrics, _) = jax.jit(lambda key: term(model, key, test, ()))(jax.random.key(0))
    return log_px, {"reconstruction": float(metrics["reconstruction"])}


def main(config: Config) -> list[dict[str, Any]]:
    begin = time.perf_counter()
    dataset = data.load(config.dataset, config.data_dir)
    if dataset.num_levels != 2:
        raise ValueError(f"{dataset.name} is grey: this network draws bits; take a binary set.")
    out = run_directory.begin("gsn", config)
    row = evaluation.baselines.row
    log_px = evaluation.baselines.independent_bernoulli(dataset.train, dataset.test)
    rows = [row("independent Bernoulli", log_px)]
    start = jax.random.bernoulli(
        jax.random.key(config.seed), shape=(config.chains, *dataset.test.shape[1:])
    ).astype(jnp.float32)
    for num_steps in config.walkback:
        result = train(config, dataset, num_steps, out)
        states, means = run_chains(config, result.model, start)
        log_px, figures = evaluate(dataset, result.model, states)
        figures["train_seconds"] = result.seconds
        rows.append(row(f"walkback of {num_steps}", log_px) | figures)
        rows_of_chains = np.asarray(means[:20, :10]).swapaxes(0, 1)
        images = rows_of_chains.reshape(-1, *dataset.test.shape[1:])
        pictures.save_samples(out / f"walkback{num_steps}" / "chains.png", images, columns=20)
    command_line.print_table(
        f"{dataset.name}: conservative NLL in nats, of {config.chains * config.states} states",
        {
            "model": "{model}",
            "NLL": "{nll:.2f}",
            "±": "{nll_standard_error:.2f}",
            "reconstruction": "{reconstruction:.2f}",
            "training": "{train_seconds:.1f} s",
        },
        rows,
    )
    run_directory.write_results(
        out, begin, units="nats per image; seconds", seed=config.seed, rows=rows
    )
    command_line.print_paths(out, "*/chains.png")
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
