"""How far a VAE's bounds are from log p(x): python -m experiments.sandwich.

Trains VAEs on the digits, then brackets log p(x): ELBO, importance-weighted bound and annealed
importance sampling from below, and on images that the model itself has drawn also from above.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import optax
from flax import nnx

from genmix import data, objectives
from genmix.data import Dataset
from genmix.evaluation import Annealing, Bound, sandwich, sandwich_of_simulated
from genmix.families import Bernoulli, LatentVariableModel, Normal, StandardNormal
from genmix.nets import MLP
from genmix.runs import command_line, run_directory
from genmix.training import Fit, Plan, Player, fit


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Defaults take two minutes on two CPU cores."""

    k: tuple[int, ...] = (1, 50)
    """Particles in training; 1 is the VAE, more are the IWAE."""
    latent: int = 10
    """Dimensions of z."""
    hidden: int = 100
    """Width of the two hidden layers."""
    steps: int = 8_000
    batch_size: int = 50
    learning_rate: float = 2e-3
    """At the start; it falls to zero along a cosine."""
    images: int = 100
    """Test images, and as many simulated ones."""
    particles: int = 5000
    """Of the importance-weighted bound."""
    temperatures: int = 200
    """Of annealing from q(z | x) to p(z | x)."""
    step_size: float = 0.2
    """Of its Hamiltonian Monte Carlo."""
    chains: int = 8
    """Annealed for each image."""
    seed: int = 0
    out: Path | None = None
    """Directory of the run; runs/sandwich/TIME if not given."""
    resume: bool = False
    """Go on with the run in --out, bit for bit."""
    debug: bool = False
    """If a number is not finite, name the operation that made it so; it may go with --resume."""

    def __post_init__(self):
        command_line.require(
            self,
            counts=("k", "latent", "hidden", "steps", "batch_size", "particles", "temperatures",
                    "chains"),
            positive=("learning_rate", "step_size"),
        )  # fmt: skip
        if not 2 <= self.images <= 360:
            raise ValueError(f"images must be between 2 and 360, got {self.images}.")


def build(config: Config, dataset: Dataset) -> LatentVariableModel:
    rngs = nnx.Rngs(config.seed)
    shape, hidden = dataset.train.shape[1:], (config.hidden, config.hidden)
    return LatentVariableModel(
        prior=StandardNormal(config.latent),
        likelihood=Bernoulli(MLP(config.latent, hidden, shape, rngs=rngs)),
        posterior=Normal(MLP(shape, hidden, config.latent, rngs=rngs)),
    )


def train(config: Config, dataset: Dataset, k: int, directory: Path) -> Fit:
    rate = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    player = Player(loss=objectives.iwae(k), optimizer=optax.adam(rate))
    plan = Plan(
        num_rounds=config.steps,
        batch_size=config.batch_size,
        transform=data.binarize,
        rounds_per_call=max(config.steps // 50, 1),
        directory=directory,
        resume=config.resume,
        debug=config.debug,
        label=f"k={k}",
    )
    key = jax.random.key(config.seed)
    return fit(key, build(config, dataset), [player], dataset.train, plan)


def evaluate(config: Config, dataset: Dataset, model: LatentVariableModel) -> list[dict[str, Any]]:
    """Bounds on test images and on simulated ones, in nats."""
    annealing = Annealing(
        num_temperatures=config.temperatures,
        step_size=config.step_size,
        num_chains=config.chains,
    )
    keys = jax.random.split(jax.random.key(config.seed), 2)
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


def print_table(rows: list[dict[str, Any]]) -> None:
    with_error = lambda name: f"{{{name}:.3f}} ± {{{name}_standard_error:.3f}}"
    command_line.print_table(
        "log p(x) of digits, nats per image",
        {
            "k": "{k}",
            "images": "{images}",
            "ELBO": "{elbo:.3f}",
            "IWAE": "{iwae:.3f}",
            "AIS": "{ais:.3f}",
            "upper": "{upper:.3f}",
            "AIS - ELBO": with_error("gap"),
            "upper - AIS": with_error("width"),
        },
        rows,
    )


def main(config: Config) -> list[dict[str, Any]]:
    begin = time.perf_counter()
    dataset = data.load("digits")
    out = run_directory.begin("sandwich", config)
    rows = []
    for k in config.k:
        model = train(config, dataset, k, out / f"k{k}").model
        rows += [{"k": k} | row for row in evaluate(config, dataset, model)]
    print_table(rows)
    run_directory.write_results(
        out,
        begin,
        units="nats per image; seconds",
        particles=config.particles,
        temperatures=config.temperatures,
        seed=config.seed,
        rows=rows,
    )
    command_line.print_paths(out)
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
