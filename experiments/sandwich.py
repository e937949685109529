"""How far a VAE's bounds are from log p(x): python -m experiments.sandwich.

Trains VAEs on the digits, then brackets log p(x): ELBO, importance-weighted bound and annealed
importance sampling from below, and on images that the model itself has drawn also from above.
"""

import dataclasses
from typing import Annotated, Any

import jax
import optax
from flax import nnx

from experiments import study
from genmix import data, objectives
from genmix.data import Dataset
from genmix.evaluation import Annealing, Bound, sandwich, sandwich_of_simulated
from genmix.families import Bernoulli, LatentVariableModel, Normal, StandardNormal
from genmix.nets import MLP
from genmix.runs import command_line
from genmix.training import Player


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.Training):
    """Defaults take two minutes on two CPU cores."""

    k: study.Each[study.Count] = (1, 50)
    """Particles in training; 1 is the VAE, more are the IWAE."""
    latent: study.Count = 10
    """Dimensions of z."""
    hidden: study.Count = 100
    """Width of the two hidden layers."""
    steps: study.Count = 8_000
    batch_size: study.Count = 50
    learning_rate: study.Positive = 2e-3
    """At the start; it falls to zero along a cosine."""
    images: Annotated[int, study.Rule(lambda v: 2 <= v <= 360, "be between 2 and 360")] = 100
    """Test images, and as many simulated ones."""
    particles: study.Count = 5000
    """Of the importance-weighted bound."""
    temperatures: study.Count = 200
    """Of annealing from q(z | x) to p(z | x)."""
    step_size: study.Positive = 0.2
    """Of its Hamiltonian Monte Carlo."""
    chains: study.Count = 8
    """Annealed for each image."""


def build(config: Config, dataset: Dataset) -> LatentVariableModel:
    rngs = nnx.Rngs(config.seed)
    shape, hidden = dataset.train.shape[1:], (config.hidden, config.hidden)
    return LatentVariableModel(
        prior=StandardNormal(config.latent),
        likelihood=Bernoulli(MLP(config.latent, hidden, shape, rngs=rngs)),
        posterior=Normal(MLP(shape, hidden, config.latent, rngs=rngs)),
    )


def evaluate(config: Config, dataset: Dataset, model: LatentVariableModel) -> list[dict[str, Any]]:
    """Bounds on test images and on simulated ones, in nats."""
    annealing = Annealing(
        num_temperatures=config.temperatures,
        step_size=config.step_size,
        num_chains=config.chains,
    )
    keys = jax.random.split(config.key, 2)
    x, options = dataset.test[: config.images], {"num_particles": config.particles}
    of_test = sandwich(keys[0], model, x, annealing=annealing, **options)
    simulated = sandwich_of_simulated(keys[1], model, config.images, annealing=annealing, **options)
    rows = []
    for name, bounds in (("test", of_test), ("simulated", simulated)):
        row: dict[str, Any] = {"images": name}
        for bound, value in bounds._asdict().items():
            if value is not None:
                row |= {bound: value.mean, f"{bound}_standard_error": value.standard_error}
        # The images' own spread cancels in the gap.
        gap = Bound(bounds.ais.values - bounds.elbo.values)
        row |= {"gap": gap.mean, "gap_standard_error": gap.standard_error}
        if bounds.upper is not None:
            width = Bound(bounds.upper.values - bounds.ais.values)
            row |= {"width": width.mean, "width_standard_error": width.standard_error}
        rows.append(row)
    return rows


def experiment(config: Config) -> study.Study:
    dataset = data.load("digits")
    variant = lambda k: study.Variant(
        name=f"k={k}",
        folder=f"k{k}",
        row={"k": k},
        build=lambda: build(config, dataset),
        players=[Player(loss=objectives.iwae(k), optimizer=optax.adam(config.falling()))],
        data=dataset.train,
        plan=config.plan(transform=data.binarize),
    )
    with_error = lambda name: f"{{{name}:.3f}} ± {{{name}_standard_error:.3f}}"
    columns = {
        "k": "{k}",
        "images": "{images}",
        "ELBO": "{elbo:.3f}",
        "IWAE": "{iwae:.3f}",
        "AIS": "{ais:.3f}",
        "upper": "{upper:.3f}",
        "AIS - ELBO": with_error("gap"),
        "upper - AIS": with_error("width"),
    }
    return study.Study(
        variants=[variant(k) for k in config.k],
        measure=lambda result: evaluate(config, dataset, result.model),
        tables=[study.Table("log p(x) of digits, nats per image", columns)],
        facts={"particles": config.particles, "temperatures": config.temperatures},
        units="nats per image; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("sandwich", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
