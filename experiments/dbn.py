"""Deep belief networks, greedy and fine-tuned by the up-down algorithm: python -m experiments.dbn.

Two machines on the digits, one on top of the other, judged by the variational bound on log p(x) and
by importance sampling; the normalizer at the top is summed, or estimated by annealed importance
sampling.
"""

import dataclasses
import itertools
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
from genmix.evaluation import LogPartition, pictures
from genmix.families.deep_belief import DeepBelief
from genmix.families.restricted_boltzmann import RestrictedBoltzmann
from genmix.training import (
    Plan,
    Player,
    contrastive_divergence,
    fit,
    layerwise,
    run_directory,
    up_down,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Defaults train on scikit-learn's digits."""

    dataset: Annotated[str, tyro.conf.arg(metavar="{" + ",".join(data.NAMES) + ",tfds:NAME}")] = (
        "digits"
    )
    data_dir: Path | None = None
    """Folder that holds mnist/, binarized_mnist/, ...; the digits need none."""
    hidden: tuple[int, ...] = (40, 20)
    """Hidden units of each machine, from the data on."""
    steps: int = 10_000
    """Of persistent contrastive divergence, for each machine."""
    tuning_steps: int = 5_000
    """Of the up-down algorithm."""
    gibbs_steps: int = 5
    """At the top in each step of the up-down algorithm."""
    batch_size: int = 100
    chains: int = 100
    learning_rate: float = 0.05
    """Of gradient descent at the start; it falls to zero linearly."""
    tuning_rate: float = 0.01
    """The same for the up-down algorithm."""
    temperatures: int = 2_000
    """Of annealed importance sampling."""
    paths: int = 100
    """Of annealed importance sampling."""
    particles: int = 1000
    """Of the NLL estimate."""
    seed: int = 0
    out: Path | None = None
    """Directory of the run; runs/dbn/TIME if not given."""
    resume: bool = False
    """Go on with the run in --out, bit for bit."""
    debug: bool = False
    """If a number is not finite, name the operation that made it so; it may go with --resume."""

    def __post_init__(self):
        counts = ("hidden", "steps", "tuning_steps", "gibbs_steps", "batch_size", "chains")
        rates = ("learning_rate", "tuning_rate")
        command_line.require(self, counts=(*counts, "particles"), positive=rates)
        if len(self.hidden) < 2:
            raise ValueError(f"hidden needs two machines or more, got {self.hidden}.")
        for name, least in (("temperatures", 29), ("paths", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}.")


def vectors(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)


def train(
    config: Config, model: Any, term: Any, rate: float, plan: dict[str, Any], dataset: Dataset
) -> Any:
    schedule = optax.linear_schedule(rate, 0.0, plan["num_rounds"])
    player = Player(loss=term, optimizer=optax.sgd(schedule))
    settings = Plan(
        batch_size=config.batch_size,
        rounds_per_call=max(plan["num_rounds"] // 50, 1),
        resume=config.resume,
        debug=config.debug,
        **plan,
    )
    return fit(jax.random.key(config.seed), model, [player], vectors(dataset.train), settings)


def train_machines(
    config: Config, dataset: Dataset, out: Path
) -> tuple[list[RestrictedBoltzmann], float]:
    """Each on the hidden states of those below it, and the seconds that it took."""
    binarize = data.binarize if dataset.binarization == "dynamic" else None
    machines, seconds = [], 0.0
    sizes = (dataset.train[0].size, *config.hidden)
    for l, (visible, hidden) in enumerate(itertools.pairwise(sizes)):
        model = RestrictedBoltzmann(visible, hidden, rngs=nnx.Rngs(config.seed + l))
        if l == 0:
            model.visible_bias[...] = jnp.asarray(data.mean_logits(vectors(dataset.train)))
        bits = np.random.default_rng(config.seed).integers(0, 2, (config.chains, visible))
        term = contrastive_divergence.persistent(jnp.asarray(bits, jnp.float32), 1)
        plan = {
            "num_rounds": config.steps,
            "transform": layerwise.upward(machines, binarize),
            "directory": out / f"machine{l + 1}",
            "label": f"machine {l + 1}",
        }
        result = train(config, model, term, config.learning_rate, plan, dataset)
        machines.append(result.model)
        seconds += result.seconds
    return machines, seconds


def log_partition(config: Config, machine: RestrictedBoltzmann, mean: Any) -> LogPartition:
    return evaluation.log_partition(
        jax.random.key(config.seed),
        machine,
        mean,
        num_temperatures=config.temperatures,
        num_paths=config.paths,
    )


def evaluate_machine(config: Config, dataset: Dataset, machine: Any) -> dict[str, Any]:
    """Of the lowest machine alone: its log p(x), by whichever log Z there is."""
    mean = jax.nn.sigmoid(jnp.asarray(data.mean_logits(vectors(dataset.train))))
    log_z = log_partition(config, machine, mean)
    test = jnp.asarray(vectors(dataset.test))
    value = jax.vmap(machine.log_unnormalized)(test) - log_z.value
    return evaluation.baselines.row("one machine", np.asarray(value)) | log_z.figures()


def evaluate(config: Config, dataset: Dataset, model: DeepBelief) -> dict[str, Any]:
    """Test figures, in nats per image, and log Z of the machine at the top."""
    key = jax.random.key(config.seed)
    bits_key, infer_key, bound_key, nll_key = jax.random.split(key, 4)
    train_images = jnp.asarray(vectors(dataset.train[:1000]))
    bits = data.binarize(bits_key, train_images)
    infer = jax.vmap(lambda key, v: model.infer(key, v)[-1])
    tops = infer(jax.random.split(infer_key, len(bits)), bits)
    mean = (jnp.sum(tops, axis=0) + 0.5) / (len(tops) + 1)
    log_z = log_partition(config, model.top, mean)
    weighted, test = model.weighted(log_z.value), vectors(dataset.test)
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
    dataset = data.load(config.dataset, config.data_dir)
    if dataset.num_levels != 2:
        raise ValueError(f"{dataset.name} is grey: this network has binary units; take bits.")
    out = run_directory.begin("dbn", config)
    log_px = evaluation.baselines.independent_bernoulli(dataset.train, dataset.test)
    rows = [evaluation.baselines.row("independent Bernoulli", log_px)]
    machines, seconds = train_machines(config, dataset, out)
    rows.append(evaluate_machine(config, dataset, machines[0]))
    greedy = DeepBelief(machines)
    rows.append({"model": "greedy", "train_seconds": seconds} | evaluate(config, dataset, greedy))
    draw(config, dataset, greedy, out / "samples-greedy.png")
    plan = {
        "num_rounds": config.tuning_steps,
        "transform": data.binarize if dataset.binarization == "dynamic" else None,
        "directory": out / "tuned",
        "label": "up-down",
    }
    term = up_down.up_down(config.gibbs_steps)
    tuned = train(config, greedy, term, config.tuning_rate, plan, dataset)
    seconds += tuned.seconds
    figures = evaluate(config, dataset, tuned.model)
    rows.append({"model": "up-down", "train_seconds": seconds} | figures)
    draw(config, dataset, tuned.model, out / "samples-up-down.png")
    command_line.print_table(
        f"{dataset.name}, hidden units {'-'.join(map(str, config.hidden))}: nats per test image",
        {
            "model": "{model}",
            "bound": "{elbo:.2f}",
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
    command_line.print_paths(out, "samples-greedy.png", "samples-up-down.png")
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
