"""Deep belief networks, greedy and fine-tuned by the up-down algorithm: python -m experiments.dbn.

Two machines on the digits, one on top of the other, judged by the variational bound on log p(x) and
by importance sampling; the normalizer at the top is summed, or estimated by annealed importance
sampling.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.boltzmann import parts
from experiments.boltzmann.config import Shared
from genmix import data, evaluation
from genmix.data import Dataset
from genmix.evaluation import pictures
from genmix.families.energy.deep_belief import DeepBelief
from genmix.objectives import up_down
from genmix.runs import command_line, run_directory


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Shared):
    """Defaults train on scikit-learn's digits."""

    hidden: tuple[int, ...] = (40, 20)
    """Hidden units of each machine, from the data on."""
    tuning_steps: int = 5_000
    """Of the up-down algorithm."""
    gibbs_steps: int = 5
    """At the top in each step of the up-down algorithm."""
    tuning_rate: float = 0.01
    """The same as the learning rate, for the up-down algorithm."""
    particles: int = 1000
    """Of the NLL estimate."""

    def __post_init__(self):
        super().__post_init__()
        counts = ("hidden", "tuning_steps", "gibbs_steps", "particles")
        command_line.require(self, counts=counts, positive=("tuning_rate",))
        if len(self.hidden) < 2:
            raise ValueError(f"hidden needs two machines or more, got {self.hidden}.")


def evaluate_machine(config: Config, dataset: Dataset, machine: Any) -> dict[str, Any]:
    """Of the lowest machine alone: its log p(x), by whichever log Z there is."""
    mean = jax.nn.sigmoid(jnp.asarray(data.mean_logits(parts.vectors(dataset.train))))
    log_z = parts.log_partition(config, machine, mean)
    test = jnp.asarray(parts.vectors(dataset.test))
    value = jax.vmap(machine.log_unnormalized)(test) - log_z.value
    return evaluation.baselines.row("one machine", np.asarray(value)) | log_z.figures()


def evaluate(config: Config, dataset: Dataset, model: DeepBelief) -> dict[str, Any]:
    """Test figures, in nats per image, and log Z of the machine at the top."""
    key = jax.random.key(config.seed)
    bits_key, infer_key, bound_key, nll_key = jax.random.split(key, 4)
    train_images = jnp.asarray(parts.vectors(dataset.train[:1000]))
    bits = data.binarize(bits_key, train_images)
    infer = jax.vmap(lambda key, v: model.infer(key, v)[-1])
    tops = infer(jax.random.split(infer_key, len(bits)), bits)
    mean = (jnp.sum(tops, axis=0) + 0.5) / (len(tops) + 1)
    log_z = parts.log_partition(config, model.top, mean)
    weighted, test = model.weighted(log_z.value), parts.vectors(dataset.test)
    bound = evaluation.elbo(bound_key, weighted, test)
    likelihood = evaluation.log_likelihood(nll_key, weighted, test, num_particles=config.particles)
    return log_z.figures() | {
        "elbo": bound.elbo,
        "nll": likelihood.nll,
        "nll_standard_error": likelihood.standard_error,
    }


def draw(config: Config, dataset: Dataset, model: DeepBelief, path: Path) -> None:
    """Means of x given h1, which chains of 1,000 steps at the top end in."""
    weighted = model.weighted(0.0)
    one = lambda key: weighted.decode(weighted.prior.sample(key))
    samples = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(config.seed), 100))
    pictures.save_samples(path, np.asarray(samples).reshape(-1, *dataset.test.shape[1:]))


def main(config: Config) -> list[dict[str, Any]]:
    begin = time.perf_counter()
    dataset = parts.load(config)
    out = run_directory.begin("dbn", config)
    log_px = evaluation.baselines.independent_bernoulli(dataset.train, dataset.test)
    rows = [evaluation.baselines.row("independent Bernoulli", log_px)]
    machines, seconds = parts.train_by_layers(
        config, dataset, config.hidden, out, steps=config.steps
    )
    rows.append(evaluate_machine(config, dataset, machines[0]))
    greedy = DeepBelief(machines)
    rows.append({"model": "greedy", "train_seconds": seconds} | evaluate(config, dataset, greedy))
    draw(config, dataset, greedy, out / "samples-greedy.png")
    tuned = parts.train(
        config,
        dataset,
        greedy,
        up_down.up_down(config.gibbs_steps),
        out / "tuned",
        label="up-down",
        steps=config.tuning_steps,
        rate=config.tuning_rate,
    )
    seconds += tuned.seconds
    figures = evaluate(config, dataset, tuned.model)
    rows.append({"model": "up-down", "train_seconds": seconds} | figures)
    draw(config, dataset, tuned.model, out / "samples-up-down.png")
    parts.report(config, dataset, out, begin, rows)
    command_line.print_paths(out, "samples-greedy.png", "samples-up-down.png")
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
