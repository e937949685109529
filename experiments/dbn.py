"""Deep belief networks, greedy and fine-tuned by the up-down algorithm: python -m experiments.dbn.

Two machines on the digits, one on top of the other, judged by the variational bound on log p(x) and
by importance sampling; the normalizer at the top is summed, or estimated by annealed importance
sampling.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import study
from experiments.boltzmann import parts
from experiments.boltzmann.config import Shared
from genmix import data, evaluation, objectives
from genmix.data import Dataset
from genmix.evaluation import pictures
from genmix.families.energy.deep_belief import DeepBelief
from genmix.runs import command_line

SEVERAL = study.Rule(lambda sizes: len(sizes) > 1, "have two machines or more")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Shared):
    """Defaults train on scikit-learn's digits."""

    hidden: Annotated[tuple[study.Count, ...], SEVERAL] = (40, 20)
    """Hidden units of each machine, from the data on."""
    tuning_steps: study.Count = 5_000
    """Of the up-down algorithm."""
    gibbs_steps: study.Count = 5
    """At the top in each step of the up-down algorithm."""
    tuning_rate: study.Positive = 0.01
    """The same as the learning rate, for the up-down algorithm."""
    particles: study.Count = 1000
    """Of the NLL estimate."""


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


def stages(config: Config, dataset: Dataset, out: Path) -> list[study.Row]:
    """Machines one by one, then all together: each stage's figures, and its samples."""
    machines, seconds = parts.train_by_layers(
        config, dataset, config.hidden, out, steps=config.steps
    )
    greedy = DeepBelief(machines)
    tuned, _, more = parts.train(
        config,
        dataset,
        greedy,
        objectives.up_down(config.gibbs_steps),
        out / "tuned",
        label="up-down",
        steps=config.tuning_steps,
        rate=config.tuning_rate,
        transform=dataset.transform,
    )
    rows: list[study.Row] = [evaluate_machine(config, dataset, machines[0])]
    for name, model, elapsed in (("greedy", greedy, seconds), ("up-down", tuned, seconds + more)):
        figures = evaluate(config, dataset, model)
        rows.append({"model": name, "train_seconds": elapsed, **figures})
        draw(config, dataset, model, out / f"samples-{name}.png")
    return rows


def experiment(config: Config) -> study.Study:
    dataset = config.load()
    return parts.layered(config, dataset, lambda out: stages(config, dataset, out))


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("dbn", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
