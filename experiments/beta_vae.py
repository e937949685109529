"""What beta does to disentanglement, on rendered sprites: python -m experiments.beta_vae.

One VAE is trained for each beta; its means are scored by the mutual information gap and by the
metric of FactorVAE. Defaults take a few minutes on two CPU cores.

Source: Higgins et al. (2017), beta-VAE; Chen et al. (2018), arXiv:1802.04942; Kim & Mnih (2018),
arXiv:1802.05983.
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

from genmix import data, evaluation, objectives
from genmix.data import sprites
from genmix.evaluation import disentanglement, pictures
from genmix.families import Bernoulli, LatentVariableModel, Normal, StandardNormal
from genmix.nets import MLP
from genmix.objectives import Rate
from genmix.runs import command_line, run_directory
from genmix.training import Fit, Plan, Player, fit


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Beta multiplies the rate in nats beside the log-likelihood summed over all pixels."""

    beta: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
    side: int = 24
    """Of the images, in pixels."""
    images: int = 40_000
    """Rendered for training."""
    test_images: int = 5000
    """Rendered for the figures."""
    latent: int = 8
    """Dimensions of z."""
    hidden: int = 256
    """Width of the two hidden layers."""
    steps: int = 15_000
    batch_size: int = 64
    learning_rate: float = 1e-3
    """At the start; it falls to zero along a cosine."""
    seed: int = 0
    out: Path | None = None
    """Directory of the run; runs/beta_vae/TIME if not given."""
    resume: bool = False
    """Go on with the run in --out, bit for bit."""

    def __post_init__(self):
        command_line.require(
            self,
            counts=("side", "images", "test_images", "hidden", "steps", "batch_size"),
            positive=("learning_rate",),
            names=("beta",),
        )
        command_line.require_batch(self.batch_size, self.images, "--images")
        if self.latent < 2:
            raise ValueError(f"latent must be at least 2 for a gap, got {self.latent}.")
        if not all(0 <= beta < math.inf for beta in self.beta):
            raise ValueError(f"beta must not be negative or infinite, got {self.beta}.")


def build(config: Config) -> LatentVariableModel:
    shape, rngs, widths = (config.side, config.side, 1), nnx.Rngs(config.seed), (config.hidden,) * 2
    relu: dict[str, Any] = {"activation": jax.nn.relu, "rngs": rngs}
    return LatentVariableModel(
        prior=StandardNormal(config.latent),
        likelihood=Bernoulli(MLP(config.latent, widths, shape, **relu)),
        posterior=Normal(MLP(shape, widths, config.latent, **relu)),
    )


def train(config: Config, beta: float, images: np.ndarray, directory: Path) -> Fit:
    learning_rate = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    loss = objectives.elbo(rate=Rate(beta=beta, analytic=True))
    plan = Plan(
        num_rounds=config.steps,
        batch_size=config.batch_size,
        transform=data.binarize,
        rounds_per_call=max(config.steps // 20, 1),
        directory=directory,
        resume=config.resume,
        label=f"beta {beta:g}",
    )
    player = Player(loss=loss, optimizer=optax.adam(learning_rate))
    return fit(jax.random.key(config.seed), build(config), [player], images, plan)


def evaluate(
    config: Config, model: LatentVariableModel, test: sprites.Sprites
) -> tuple[dict[str, Any], np.ndarray]:
    """Figures on new images, in nats an image where they have a unit; I(code; factor)."""
    elbo_key, unit_key, noise_key = jax.random.split(jax.random.key(config.seed + 1), 3)
    x = data.binarize(noise_key, jnp.asarray(test.images))
    codes = np.asarray(jax.jit(jax.vmap(model.posterior.mean))(x))
    bound = evaluation.elbo(elbo_key, model, x[:1000], num_samples=10)
    units = evaluation.active_units(unit_key, model, x[:1000], num_samples=20)[0]
    figures = {
        "elbo": bound.elbo,
        "log_likelihood": bound.elbo + bound.rate,
        "rate": bound.rate,
        "active_units": int(np.sum(units)),
        "mig": disentanglement.mig(codes, test.factors),
        # Where no code varies, none can vote: chance.
        "factor_vae": disentanglement.factor_vae_score(codes, test.factors, seed=config.seed)
        if np.any(np.var(codes, axis=0) > 1e-4)
        else 1 / len(sprites.NAMES),
    }
    return figures, disentanglement.mutual_informations(codes, test.factors)


def traversals(model: LatentVariableModel, x: jax.Array, order: np.ndarray) -> np.ndarray:
    """A row for each dimension of z in this order: the mean of x as it goes from -2 to 2."""
    z = model.posterior.mean(x)
    rows = [[model.decode(z.at[j].set(v)) for v in np.linspace(-2, 2, 10)] for j in order]
    return np.stack([np.asarray(image) for row in rows for image in row])


def print_table(config: Config, rows: list[dict[str, Any]]) -> None:
    title = f"sprites of {config.side} x {config.side} pixels: nats per image; codes are means"
    columns = ("ELBO", "E log p(x|z)", "KL", "active", "MIG", "FactorVAE", "training")
    table = Table("beta", *columns, title=title)
    for row in rows:
        table.add_row(
            f"{row['beta']:g}",
            *[f"{row[name]:.2f}" for name in ("elbo", "log_likelihood", "rate")],
            f"{row['active_units']} of {config.latent}",
            f"{row['mig']:.3f}",
            f"{row['factor_vae']:.3f}",
            f"{row['train_seconds']:.0f} s",
        )
    Console().print(table)
    Console().print("MIG: 0 to 1; FactorVAE: accuracy, 0.2 by chance")


def main(config: Config) -> list[dict[str, Any]]:
    start = time.perf_counter()
    out = run_directory.begin("beta_vae", config)
    train_set = sprites.draw(config.images, side=config.side, seed=config.seed)
    test = sprites.draw(config.test_images, side=config.side, seed=config.seed + 1)
    pictures.save_samples(out / "data.png", train_set.images[:50])
    rows = []
    for beta in config.beta:
        trained = train(config, beta, train_set.images, out / f"beta-{beta:g}")
        figures, informations = evaluate(config, trained.model, test)
        order = np.argsort(-informations.sum(axis=1))
        x = jnp.asarray(test.images[0])
        pictures.save_samples(out / f"beta-{beta:g}.png", traversals(trained.model, x, order))
        table = {name: informations[order, k].tolist() for k, name in enumerate(sprites.NAMES)}
        rows.append({"beta": beta, "train_seconds": trained.seconds} | figures
                    | {"informations": table})  # fmt: skip
    print_table(config, rows)
    run_directory.write_results(
        out, start, units="nats per image; seconds", rows=rows, seed=config.seed
    )
    print(f"pictures and figures: {out}")
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
