"""How far a VAE's bounds are from log p(x): python -m experiments.sandwich.

Trains VAEs on the digits, then brackets log p(x): ELBO, importance-weighted bound and annealed
importance sampling from below, and on images that the model itself has drawn also from above.
"""

import dataclasses
import datetime
import time
from pathlib import Path
from typing import Any

import jax
import optax
from flax import nnx
from rich.console import Console
from rich.table import Table

from genmix import command_line, data
from genmix.data import Dataset
from genmix.evaluation import Annealing, Bound, sandwich, sandwich_of_simulated
from genmix.families import Bernoulli, FactorizedNormal, LatentVariableModel, StandardNormal
from genmix.nets import MLP
from genmix.training import Fit, Plan, Player, fit, objectives, run_directory


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
        sizes = ("latent", "hidden", "steps", "batch_size", "particles", "temperatures", "chains")
        for name in sizes:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not self.k or min(self.k) < 1:
            raise ValueError(f"k must be at least 1, got {self.k}.")
        if not 2 <= self.images <= 360:
            raise ValueError(f"images must be between 2 and 360, got {self.images}.")
        for name in ("learning_rate", "step_size"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}.")
        if self.resume and self.out is None:
            raise ValueError("resume needs --out DIR, the run to go on with.")


def build(config: Config, dataset: Dataset) -> LatentVariableModel:
    rngs = nnx.Rngs(config.seed)
    shape, hidden = dataset.train.shape[1:], (config.hidden, config.hidden)
    return LatentVariableModel(
        prior=StandardNormal(config.latent),
        likelihood=Bernoulli(MLP(config.latent, hidden, shape, rngs=rngs)),
        posterior=FactorizedNormal(MLP(shape, hidden, 2 * config.latent, rngs=rngs)),
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
    table = Table(title="log p(x) of digits, nats per image")
    names = ("k", "images", "ELBO", "IWAE", "AIS", "upper", "AIS - ELBO", "upper - AIS")
    for name in names:
        table.add_column(name, justify="left" if name == "images" else "right")

    def cell(row: dict[str, Any], name: str, with_error: bool = False) -> str:
        if name not in row:
            return ""
        error = f" ± {row[f'{name}_standard_error']:.3f}" if with_error else ""
        return f"{row[name]:.3f}{error}"

    for row in rows:
        bounds = [cell(row, name) for name in ("elbo", "iwae", "ais", "upper")]
        gaps = [cell(row, name, with_error=True) for name in ("gap", "width")]
        table.add_row(str(row["k"]), row["images"], *bounds, *gaps)
    Console().print(table)


def main(config: Config) -> list[dict[str, Any]]:
    begin = time.perf_counter()
    dataset = data.load("digits")
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    out = config.out or Path("runs") / "sandwich" / stamp
    settings = dataclasses.asdict(config)
    for local in ("out", "resume", "debug"):
        settings.pop(local)
    run_directory.prepare(out, settings, resume=config.resume)
    rows = []
    for k in config.k:
        model = train(config, dataset, k, out / f"k{k}").model
        rows += [{"k": k} | row for row in evaluate(config, dataset, model)]
    print_table(rows)
    run_directory.write_json(
        out / "results.json",
        {
            "units": "nats per image; seconds",
            "particles": config.particles,
            "temperatures": config.temperatures,
            "seed": config.seed,
            "rows": rows,
            "wall_seconds": time.perf_counter() - begin,
            "versions": run_directory.versions(),
            "git_commit": run_directory.git_commit(),
        },
    )
    print(f"figures: {out}/results.json")
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
