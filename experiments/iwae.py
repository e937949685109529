"""Importance-weighted autoencoders against VAEs, Burda et al.'s table: python -m experiments.iwae.

Defaults train on scikit-learn's digits in about a minute on two CPU cores.
"""

import dataclasses
import itertools
import math
import time
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments import study
from experiments.study.estimators import Estimator, Objective, bound
from genmix import data, evaluation, processes, sharding
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
from genmix.runs import command_line
from genmix.training import Player, Validation

TITLES = {"elbo": "VAE", "iwae": "IWAE", "renyi": "Rényi", "vr-max": "VR-max"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.OnImages):
    """One model is trained for each objective and k; with k = 1 all objectives are the ELBO."""

    stream: bool = False
    """Read the training images block by block, as data are that do not fit on the device."""
    k: study.Each[study.Count] = (1, 5, 50)
    """Particles in training, one or several numbers."""
    objective: study.Each[Objective] = ("elbo", "iwae")
    alpha: float = 0.5
    """Order of the Rényi objective."""
    estimator: Estimator = "reparameterized"
    """Gradient estimator; score-function uses leave-one-out baselines (VIMCO for iwae)."""
    layers: Literal[1, 2] = 1
    """Stochastic layers; the second has half the width and half the dimensions of the first."""
    hidden: study.Count | None = None
    """Width of the two hidden layers; 100 for the digits, 200 for larger images."""
    latent: study.Count | None = None
    """Dimensions of z; 20 for the digits, 50 for larger images (100 with two layers)."""
    steps: study.Count = 15_000
    batch_size: study.Count = 20
    learning_rate: study.Positive = 3e-3
    """At the start; it falls to zero along a cosine."""
    adam_epsilon: study.Positive = 1e-4
    """Burda et al.'s; with a smaller one short runs get further and fewer units stay active."""
    particles: study.Count = 5000
    """Particles of the NLL estimate."""
    patience: study.Count | None = None
    """Stop after this many tenths of the run without a better validation bound."""
    precision: Literal["float32", "bf16"] = "float32"
    """What the networks compute in; parameters and densities are float32 in any case."""
    mesh: str | None = None
    """Devices to spread batches and particles over, such as data=4,particle=2; one if not given."""
    shard_parameters: bool = False
    """Split large parameters and optimizer states over "data" instead of repeating them."""
    processes: str | None = None
    """auto under SLURM, mpirun or on a TPU pod, otherwise HOST:PORT,I/N (docs/scaling.md)."""

    def __post_init__(self):
        super().__post_init__()
        for name, k in itertools.product(self.objective, self.k):
            bound(name, k, self.estimator, alpha=self.alpha)
        if self.shard_parameters and not self.mesh:
            raise ValueError("shard_parameters needs --mesh, over whose devices they are split.")
        if self.processes and not (self.mesh and self.out):
            raise ValueError("processes need --mesh, over the devices of all, and --out.")


def build(config: Config, dataset: Dataset) -> LatentVariableModel:
    """The networks of Burda et al. (2016), section 5 and appendix C: two tanh layers each."""
    shape = dataset.train.shape[1:]
    hidden = config.hidden or study.by_size(shape, 100, 200)
    latent = config.latent or study.by_size(shape, 20, 50 * config.layers)
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


def variant(config: Config, dataset: Dataset, name: Objective, k: int) -> study.Variant:
    """One particle makes every objective the ELBO: such a model is trained once."""
    row = {"model": TITLES[name], "k": k}
    name = "elbo" if k == 1 else name
    optimizer = optax.adam(config.falling(), eps=config.adam_epsilon)
    images = dataset.train
    if config.stream:
        shard = (jax.process_index(), jax.process_count())
        images = Stream(images, batch_size=config.batch_size, seed=config.seed, shard=shard)
    return study.Variant(
        name=f"{TITLES[name]} k={k}",
        folder=f"{name}-k{k}",
        row=row,
        build=lambda: build(config, dataset),
        players=[
            Player(loss=bound(name, k, config.estimator, alpha=config.alpha), optimizer=optimizer)
        ],
        data=images,
        plan=config.plan(
            scatter_from=2**16 if config.shard_parameters else None,
            transform=dataset.transform,
            validation=validation(config, dataset, k),
        ),
    )


def validation(config: Config, dataset: Dataset, k: int) -> Validation | None:
    """Bound with k particles on the validation images, where the set has some."""
    if not len(dataset.valid):
        return None
    score = lambda model: (
        -evaluation.log_likelihood(config.key, model, dataset.valid, num_particles=k).nll
    )
    return Validation(score, 5 * max(config.steps // 50, 1), config.patience)


def evaluate(config: Config, dataset: Dataset, model: LatentVariableModel) -> dict[str, Any]:
    """The figures of one row, in nats where they have a unit."""
    nll_key, unit_key = jax.random.split(config.key)
    start = time.perf_counter()
    nll = study.nll(nll_key, model, dataset.test, config.particles)
    seconds = time.perf_counter() - start
    dims = math.prod(dataset.test.shape[1:])
    return {
        **nll,
        "nll_seconds": seconds,
        "bits_per_dim": evaluation.bits_per_dim(-nll["nll"], dims),
        **study.units(unit_key, model, dataset.test),
    }


def draw(config: Config, dataset: Dataset, model: LatentVariableModel, directory: Path) -> None:
    """Samples (means of x given sampled z, where z is drawn) and reconstructions, as pictures."""
    top = dataset.num_levels - 1
    sample_key, encode_key = jax.random.split(config.key)
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


def experiment(config: Config) -> study.Study:
    if config.processes:
        processes.join(config.processes)
    dataset = config.load()
    data.require(dataset, batch_size=config.batch_size, patience=config.patience)
    columns: dict[str, study.Column] = {"model": "{model}", "k": "{k}", **study.NLL}
    if dataset.num_levels > 2:  # of bits they say little
        columns["bits/dim"] = "{bits_per_dim:.3f}"
    columns |= {"active units": study.active, "training": "{train_seconds:.1f} s"}
    title = f"{dataset.name}: NLL in nats per image with {config.particles} particles"

    def draw_curves(out: Path, found: Any) -> None:
        bounds = {"VAE": "elbo", "IWAE": "iwae", "Rényi": "renyi", "VR-max": "vr_max"}
        curves = {it.name: it.history[bounds[it.name.split(" k=")[0]]] for it in found}
        save = lambda: pictures.save_curves(
            out / "curves.png", curves, x_label="step", y_label="training bound (nats)"
        )
        processes.first_does(save)

    pairs = itertools.product(config.objective, config.k)
    return study.Study(
        before=[evaluation.baselines.independent_pixels(dataset)],
        variants=[variant(config, dataset, name, k) for name, k in pairs],
        measure=lambda it: evaluate(config, dataset, it.model),
        draw_each=lambda it: draw(config, dataset, it.model, it.directory),
        draw=draw_curves,
        tables=[study.Table(title, columns)],
        facts={"dataset": dataset.name, "nll_particles": config.particles},
        units="nats per image; seconds",
        mesh=sharding.parse(config.mesh) if config.mesh else None,
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("iwae", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
