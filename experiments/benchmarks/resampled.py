"""Is one resampled particle worth its noise? python -m experiments.benchmarks.resampled.

The resampled estimator differentiates one particle of k, so its steps are cheaper and its gradient
is noisier than the plain one's. Both train the IWAE of Burda et al. for the same seconds, each with
as many steps as it can take and a learning rate that falls to zero over them.
"""

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from rich.console import Console
from rich.table import Table

from genmix import bounds, data, evaluation, objectives
from genmix.data import Dataset
from genmix.evaluation import pictures
from genmix.families import Bernoulli, LatentVariableModel, Normal, StandardNormal
from genmix.nets import MLP
from genmix.runs import command_line, run_directory
from genmix.training import Plan, Player, Run, fit

ESTIMATORS = {
    "plain": bounds.reparameterized,
    "resampled": bounds.resampled,
}
REPORTS = 50


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Both estimators are trained once for each length of time."""

    dataset: str = "digits"
    """Binary images: digits, mnist, ..."""
    data_dir: Path | None = None
    """Folder that holds mnist/, ...; the digits need none."""
    seconds: tuple[float, ...] = (5.0, 20.0)
    """Of training, compilation apart."""
    k: int = 50
    batch_size: int = 20
    learning_rate: float = 1e-3
    particles: int = 500
    """Particles of the NLL estimate."""
    seed: int = 0
    out: Path = Path("runs/benchmarks/resampled")

    def __post_init__(self):
        if not self.seconds or min(self.seconds) <= 0:
            raise ValueError(f"seconds must be positive, got {self.seconds}.")
        for name in ("k", "batch_size", "particles"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")


def build(dataset: Dataset, seed: int) -> LatentVariableModel:
    shape, rngs = dataset.train.shape[1:], nnx.Rngs(seed)
    hidden, latent = (100, 20) if math.prod(shape) < 500 else (200, 50)
    decoder = MLP(latent, (hidden, hidden), shape, rngs=rngs)
    means = np.clip(np.mean(dataset.train, axis=0), 1e-3, 1 - 1e-3)
    decoder.out.bias = nnx.Param(jnp.asarray(np.log(means / (1 - means)).reshape(-1), jnp.float32))
    return LatentVariableModel(
        prior=StandardNormal(latent),
        likelihood=Bernoulli(decoder),
        posterior=Normal(MLP(shape, (hidden, hidden), latent, rngs=rngs)),
    )


def train(config: Config, dataset: Dataset, name: str, steps: int) -> Any:
    learning_rate = optax.cosine_decay_schedule(config.learning_rate, steps)
    loss = objectives.iwae(config.k, estimator=ESTIMATORS[name])
    plan = Plan(
        num_rounds=steps,
        batch_size=config.batch_size,
        transform=dataset.transform,
        rounds_per_call=max(steps // REPORTS, 1),
    )
    player = Player(loss=loss, optimizer=optax.adam(learning_rate))
    key = jax.random.key(config.seed)
    run = Run(label=f"{name}, {steps} steps")
    return fit(key, build(dataset, config.seed), [player], dataset.train, plan, run)


def steps_in(config: Config, dataset: Dataset, name: str, seconds: float) -> int:
    """As many steps as fit, by the rate of a trial of a few hundred."""
    trial = 400
    rate = trial / train(config, dataset, name, trial).seconds
    return REPORTS * max(1, round(seconds * rate / REPORTS))


def main(config: Config) -> list[dict[str, Any]]:
    start = time.perf_counter()
    dataset = data.load(config.dataset, config.data_dir)
    rows, curves = [], {}
    for seconds in config.seconds:
        for name in ESTIMATORS:
            steps = steps_in(config, dataset, name, seconds)
            trained = train(config, dataset, name, steps)
            nll = evaluation.log_likelihood(
                jax.random.key(config.seed),
                trained.model,
                dataset.test,
                num_particles=config.particles,
            ).nll
            _, bound = trained.history["iwae"]
            _, at = trained.history["seconds"]
            curves[f"{name}, {seconds:g} s"] = (at, bound)
            rows.append(
                {
                    "estimator": name,
                    "seconds": trained.seconds,
                    "steps": steps,
                    "steps_per_second": steps / trained.seconds,
                    "nll": nll,
                }
            )
    config.out.mkdir(parents=True, exist_ok=True)
    pictures.save_curves(
        config.out / "bound.png",
        curves,
        x_label="seconds of training",
        y_label=f"training bound L_{config.k} (nats)",
    )
    table = Table(title=f"{dataset.name}, k = {config.k}: NLL with {config.particles} particles")
    for column in ("seconds", "estimator", "steps", "steps/s", "NLL"):
        table.add_column(column, justify="left" if column == "estimator" else "right")
    for row in rows:
        table.add_row(
            f"{row['seconds']:.1f}",
            row["estimator"],
            str(row["steps"]),
            f"{row['steps_per_second']:.0f}",
            f"{row['nll']:.2f}",
        )
    Console().print(table)
    run_directory.write_json(
        config.out / "results.json",
        {
            "units": "nats per image; seconds",
            "dataset": dataset.name,
            "rows": rows,
            "seed": config.seed,
            "wall_seconds": time.perf_counter() - start,
            "versions": run_directory.versions(),
            "git_commit": run_directory.git_commit(),
        },
    )
    print(f"picture: {config.out}/bound.png")
    print(f"figures: {config.out}/results.json")
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
