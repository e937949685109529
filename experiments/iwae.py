"""Importance-weighted autoencoders against VAEs, Burda et al.'s table: python -m experiments.iwae.

Defaults train on scikit-learn's digits in about a minute on two CPU cores.
"""

import contextlib
import dataclasses
import functools
import itertools
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from flax import nnx

from experiments.study.estimators import ESTIMATORS, Estimator, require_unbiased
from genmix import data, evaluation, objectives, processes, sharding
from genmix.data import Dataset, Stream
from genmix.evaluation import pictures
from genmix.families import (
    Bernoulli,
    DiscretizedLogistic,
    LatentVariableModel,
    Normal,
    StandardNormal,
)
from genmix.nets import MLP, LowPrecision, Rescale
from genmix.objectives import Term, baselines
from genmix.runs import command_line, run_directory
from genmix.training import Fit, Plan, Player, Validation, fit

Objective = Literal["elbo", "iwae", "renyi", "vr-max"]
LOCAL = ("out", "resume", "debug", "data_dir", "mesh", "shard_parameters", "processes")
"""Fields that change no number, so that a resumed run may have others."""
TITLES = {"elbo": "VAE", "iwae": "IWAE", "renyi": "Rényi", "vr-max": "VR-max"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """One model is trained for each objective and k; with k = 1 all objectives are the ELBO."""

    dataset: Annotated[str, tyro.conf.arg(metavar="{" + ",".join(data.NAMES) + ",tfds:NAME}")] = (
        "digits"
    )
    """tfds:NAME is a set of TensorFlow Datasets, prepared beforehand (docs/data.md)."""
    data_dir: Path | None = None
    """Folder that holds mnist/, binarized_mnist/, ...; the digits need none."""
    stream: bool = False
    """Read the training images block by block, as data are that do not fit on the device."""
    k: tuple[int, ...] = (1, 5, 50)
    """Particles in training, one or several numbers."""
    objective: tuple[Objective, ...] = ("elbo", "iwae")
    alpha: float = 0.5
    """Order of the Rényi objective."""
    estimator: Estimator = "reparameterized"
    """Gradient estimator; score-function uses leave-one-out baselines (VIMCO for iwae)."""
    layers: Literal[1, 2] = 1
    """Stochastic layers; the second has half the width and half the dimensions of the first."""
    hidden: int | None = None
    """Width of the two hidden layers; 100 for the digits, 200 for larger images."""
    latent: int | None = None
    """Dimensions of z; 20 for the digits, 50 for larger images (100 with two layers)."""
    steps: int = 15_000
    batch_size: int = 20
    learning_rate: float = 3e-3
    """At the start; it falls to zero along a cosine."""
    adam_epsilon: float = 1e-4
    """Burda et al.'s; with a smaller one short runs get further and fewer units stay active."""
    particles: int = 5000
    """Particles of the NLL estimate."""
    patience: int | None = None
    """Stop after this many tenths of the run without a better validation bound."""
    seed: int = 0
    out: Path | None = None
    """Directory of the run; runs/iwae/TIME if not given."""
    resume: bool = False
    """Go on with the run in --out, bit for bit."""
    debug: bool = False
    """If a number is not finite, name the operation that made it so; it may go with --resume."""
    precision: Literal["float32", "bf16"] = "float32"
    """What the networks compute in; parameters and densities are float32 in any case."""
    mesh: str | None = None
    """Devices to spread batches and particles over, such as data=4,particle=2; one if not given."""
    shard_parameters: bool = False
    """Split large parameters and optimizer states over "data" instead of repeating them."""
    processes: str | None = None
    """auto under SLURM, mpirun or on a TPU pod, otherwise HOST:PORT,I/N (docs/scaling.md)."""

    def __post_init__(self):
        command_line.require(
            self,
            counts=("k", "steps", "batch_size", "particles", "hidden", "latent", "patience"),
            positive=("learning_rate", "adam_epsilon"),
            names=("objective", "k"),
        )
        for name, k in itertools.product(self.objective, self.k):
            require_unbiased(name, k, self.estimator)
        if self.shard_parameters and not self.mesh:
            raise ValueError("shard_parameters needs --mesh, over whose devices they are split.")
        if self.processes and not (self.mesh and self.out):
            raise ValueError("processes need --mesh, over the devices of all, and --out.")


def build(config: Config, dataset: Dataset) -> LatentVariableModel:
    """The networks of Burda et al. (2016), section 5 and appendix C: two tanh layers each."""
    shape = dataset.train.shape[1:]
    is_small = math.prod(shape) < 500
    hidden = config.hidden or (100 if is_small else 200)
    latent = config.latent or (20 if is_small else 50 * config.layers)
    rngs = nnx.Rngs(config.seed)
    encoder = MLP(shape, (hidden, hidden), latent, rngs=rngs)
    if dataset.num_levels == 2:
        decoder = MLP(latent, (hidden, hidden), shape, rngs=rngs)
        likelihood = Bernoulli(decoder)
        means = np.clip(np.mean(dataset.train, axis=0), 1e-3, 1 - 1e-3)
        logits = np.log(means / (1 - means)).reshape(-1)
        decoder.out.bias = nnx.Param(jnp.asarray(logits, jnp.float32))
    else:
        middle = (dataset.num_levels - 1) / 2
        encoder = Rescale(encoder, loc=middle, scale=middle)
        decoder = MLP(latent, (hidden, hidden), shape, rngs=rngs)
        likelihood = DiscretizedLogistic(decoder, num_levels=dataset.num_levels)
    if config.precision == "bf16":
        encoder, likelihood.network = LowPrecision(encoder), LowPrecision(likelihood.network)
    prior = StandardNormal(latent)
    if config.layers == 2:
        width, inner = max(hidden // 2, 1), max(latent // 2, 1)
        prior = LatentVariableModel(
            prior=StandardNormal(inner),
            likelihood=Normal(MLP(inner, (width, width), latent, rngs=rngs)),
            posterior=Normal(MLP(latent, (width, width), inner, rngs=rngs)),
        )
    return LatentVariableModel(prior=prior, likelihood=likelihood, posterior=Normal(encoder))


def objective(name: str, k: int, config: Config) -> Term:
    baseline = baselines.leave_one_out() if config.estimator == "score-function" else None
    if baseline is not None and k == 1:
        baseline = baselines.running_mean()
    options = {"estimator": ESTIMATORS[config.estimator], "baseline": baseline}
    if name == "renyi":
        return objectives.renyi(config.alpha, k, **options)
    terms: dict[str, Callable[..., Term]] = {
        "elbo": objectives.elbo,
        "iwae": objectives.iwae,
        "vr-max": objectives.vr_max,
    }
    return terms[name](k, **options)


def train(config: Config, dataset: Dataset, name: str, k: int, directory: Path) -> Fit:
    learning_rate = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    optimizer = optax.adam(learning_rate, eps=config.adam_epsilon)
    player = Player(loss=objective(name, k, config), optimizer=optimizer)
    report_every = max(config.steps // 50, 1)
    plan = Plan(
        num_rounds=config.steps,
        batch_size=config.batch_size,
        scatter_from=2**16 if config.shard_parameters else None,
        transform=data.binarize if dataset.binarization == "dynamic" else None,
        rounds_per_call=report_every,
        validation=validation(config, dataset, k, 5 * report_every),
        directory=directory,
        resume=config.resume,
        debug=config.debug,
        label=f"{TITLES[name]} k={k}",
    )
    images = dataset.train
    if config.stream:
        shard = (jax.process_index(), jax.process_count())
        images = Stream(images, batch_size=config.batch_size, seed=config.seed, shard=shard)
    return fit(jax.random.key(config.seed), build(config, dataset), [player], images, plan)


def validation(config: Config, dataset: Dataset, k: int, every: int) -> Validation | None:
    """Bound with k particles on the validation images, where the set has some."""
    if not len(dataset.valid):
        return None

    def score(model: LatentVariableModel) -> float:
        key = jax.random.key(config.seed)
        return -evaluation.log_likelihood(key, model, dataset.valid, num_particles=k).nll

    return Validation(score, every, config.patience)


def evaluate(config: Config, dataset: Dataset, model: LatentVariableModel) -> dict[str, Any]:
    """The figures of one row, in nats where they have a unit."""
    nll_key, unit_key = jax.random.split(jax.random.key(config.seed))
    start = time.perf_counter()
    likelihood = evaluation.log_likelihood(
        nll_key, model, dataset.test, num_particles=config.particles
    )
    seconds = time.perf_counter() - start
    units = evaluation.active_units(unit_key, model, dataset.test)
    dims = math.prod(dataset.test.shape[1:])
    return {
        "nll": likelihood.nll,
        "nll_standard_error": likelihood.standard_error,
        "nll_seconds": seconds,
        "bits_per_dim": evaluation.bits_per_dim(-likelihood.nll, dims),
        "active_units": [int(np.sum(layer)) for layer in units],
        "latent_units": [len(layer) for layer in units],
    }


def draw(config: Config, dataset: Dataset, model: LatentVariableModel, directory: Path) -> None:
    """Samples (means of x given sampled z, where z is drawn) and reconstructions, as pictures."""
    top = dataset.num_levels - 1
    sample_key, encode_key = jax.random.split(jax.random.key(config.seed))
    prior_sample = lambda key: model.decode(model.prior.sample(key))
    samples = jax.vmap(prior_sample)(jax.random.split(sample_key, 100)) / top
    x = jnp.asarray(dataset.test[:50])
    codes = jax.vmap(model.encode)(jax.random.split(encode_key, len(x)), x)
    means = jax.vmap(model.decode)(codes) / top
    drawn = jax.device_get((samples, x / top, means))

    def save() -> None:
        pictures.save_samples(directory / "samples.png", drawn[0])
        pictures.save_reconstructions(directory / "reconstructions.png", *drawn[1:])

    processes.first_does(save)


def baseline(dataset: Dataset) -> tuple[str, np.ndarray]:
    """Name and log p(x) in nats of the model of independent pixels."""
    if dataset.num_levels == 2:
        log_px = evaluation.baselines.independent_bernoulli(dataset.train, dataset.test)
        return "independent Bernoulli", log_px
    log_px = evaluation.baselines.independent_histogram(
        dataset.train, dataset.test, num_levels=dataset.num_levels
    )
    return "independent histograms", log_px


def run_all(config: Config, dataset: Dataset, out: Path) -> list[dict[str, Any]]:
    """Train and evaluate each model, the baseline first; one row each."""
    name, log_px = baseline(dataset)
    dims = math.prod(dataset.test.shape[1:])
    rows = [
        {
            "model": name,
            "nll": float(-np.mean(log_px)),
            "nll_standard_error": float(np.std(log_px, ddof=1) / math.sqrt(len(log_px))),
            "bits_per_dim": evaluation.bits_per_dim(float(np.mean(log_px)), dims),
        }
    ]
    curves, trained = {}, {}
    for objective_name, k in itertools.product(config.objective, config.k):
        # One particle makes every objective the ELBO: such a model is trained once.
        same = ("elbo", 1) if k == 1 else (objective_name, k)
        if same not in trained:
            directory = out / f"{same[0]}-k{k}"
            result = train(config, dataset, *same, directory)
            model = sharding.replicated(result.model)
            figures = evaluate(config, dataset, model)
            draw(config, dataset, model, directory)
            bound = {"elbo": "elbo", "vr-max": "vr_max"}.get(same[0], same[0])
            curves[f"{TITLES[same[0]]} k={k}"] = result.history[bound]
            trained[same] = figures | {"train_seconds": result.seconds}
        rows.append({"model": TITLES[objective_name], "k": k} | trained[same])
    draw_curves = functools.partial(
        pictures.save_curves, x_label="step", y_label="training bound (nats)"
    )
    processes.first_does(lambda: draw_curves(out / "curves.png", curves))
    return rows


def print_table(config: Config, dataset: Dataset, rows: list[dict[str, Any]]) -> None:
    # Bits per dimension say something of grey levels; a binary image is counted in nats.
    columns = {"model": "{model}", "k": "{k}", "NLL": "{nll:.2f}", "±": "{nll_standard_error:.2f}"}
    if dataset.num_levels > 2:
        columns["bits/dim"] = "{bits_per_dim:.3f}"
    columns |= {"active units": "{active}", "training": "{train_seconds:.1f} s"}

    def active(row: dict[str, Any]) -> str:
        units = zip(row.get("active_units", []), row.get("latent_units", []), strict=True)
        return " + ".join(f"{active} of {dims}" for active, dims in units)

    command_line.print_table(
        f"{dataset.name}: NLL in nats per image with {config.particles} particles",
        columns,
        [row | {"active": active(row)} for row in rows],
    )


def check(config: Config, dataset: Dataset) -> None:
    """Refuse what cannot run before anything is written."""
    for name, k in itertools.product(config.objective, config.k):
        objective(name, k, config)
    data.require(dataset, batch_size=config.batch_size, patience=config.patience)


def report(
    config: Config, dataset: Dataset, rows: list[dict[str, Any]], out: Path, start: float
) -> None:
    print_table(config, dataset, rows)
    run_directory.write_results(
        out,
        start,
        units="nats per image; seconds",
        dataset=dataset.name,
        nll_particles=config.particles,
        seed=config.seed,
        rows=rows,
    )
    command_line.print_paths(out, "*/samples.png", "*/reconstructions.png", "curves.png")


def main(config: Config) -> list[dict[str, Any]]:
    start = time.perf_counter()
    if config.processes:
        processes.join(config.processes)
    dataset = data.load(config.dataset, config.data_dir)
    check(config, dataset)
    mesh = sharding.parse(config.mesh) if config.mesh else None
    out = config.out or run_directory.default("iwae")
    with contextlib.ExitStack() as stack:

        def take_directory() -> None:
            run_directory.begin("iwae", dataclasses.replace(config, out=out), local=LOCAL)
            stack.enter_context(run_directory.locked(out))

        processes.first_does(take_directory)
        if mesh is not None:
            stack.enter_context(jax.set_mesh(mesh))
        rows = run_all(config, dataset, out)
    processes.first_does(lambda: report(config, dataset, rows, out, start))
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
