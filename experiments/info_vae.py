"""beta-VAE, InfoVAE, WAE and AAE as weights of three terms: python -m experiments.info_vae.

Each model minimises `elbo(beta) + a * mmd(latent) + b * adversarial.generator(latent)`; the table
says what becomes of the reconstruction, the information in z and the aggregated posterior. Defaults
take a few minutes on two CPU cores.

Source: Zhao, Song & Ermon (2018), arXiv:1806.06514, section 3; Zhao, Song & Ermon (2019),
arXiv:1706.02262; Higgins et al. (2017); Tolstikhin et al. (2018), arXiv:1711.01558; Makhzani et al.
(2016), arXiv:1511.05644.
"""

import dataclasses
import datetime
import math
import time
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from rich.console import Console
from rich.table import Table

from genmix import bounds, command_line, data, evaluation
from genmix.data import Dataset
from genmix.evaluation import pictures
from genmix.families import Bernoulli, FactorizedNormal, LatentVariableModel, StandardNormal
from genmix.nets import MLP
from genmix.training import (
    Fit,
    Plan,
    Player,
    Rate,
    Term,
    adversarial,
    comparison,
    distances,
    fit,
    objectives,
    run_directory,
)


class Weights(NamedTuple):
    """Of the rate KL(q(z | x) || p(z)), and of what compares q(z) with p(z): MMD and critic."""

    beta: float
    mmd: float = 0.0
    critic: float = 0.0


Name = Literal["VAE", "beta-VAE 0.25", "beta-VAE 4", "InfoVAE", "WAE-MMD", "AAE"]
MODELS: dict[Name, Weights] = {
    "VAE": Weights(1.0),
    "beta-VAE 0.25": Weights(0.25),
    "beta-VAE 4": Weights(4.0),
    "InfoVAE": Weights(0.25, mmd=100.0),  # alpha = 0.75 in the paper's notation
    "WAE-MMD": Weights(0.0, mmd=100.0),
    "AAE": Weights(0.0, critic=10.0),  # which WAE-GAN is, too
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """All encoders are normal distributions, those of WAE-MMD and AAE too."""

    dataset: Literal["digits", "mnist", "binarized-mnist", "fashion-mnist"] = "digits"
    data_dir: Path | None = None
    """Folder that holds mnist/, ...; the digits need none."""
    model: tuple[Name, ...] = tuple(MODELS)
    latent: int = 8
    """Dimensions of z."""
    hidden: int | None = None
    """Width of the two hidden layers; 100 for the digits, 400 for larger images."""
    steps: int = 6000
    batch_size: int = 100
    learning_rate: float = 2e-3
    """At the start; it falls to zero along a cosine."""
    particles: int = 500
    """Particles of the NLL estimate."""
    events: int = 1000
    """Training images over which the ELBO is taken apart; the information is at most their log."""
    seed: int = 0
    out: Path | None = None
    """Directory of the run; runs/info_vae/TIME if not given."""

    def __post_init__(self):
        for name in ("latent", "hidden", "steps", "particles", "events"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        if self.batch_size < 2:
            raise ValueError(f"batch_size must be at least 2 for an MMD, got {self.batch_size}.")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}.")


class Game(nnx.Module):
    """An autoencoder, and a critic of its latents that only the AAE asks."""

    def __init__(self, autoencoder: LatentVariableModel, critic: MLP):
        self.autoencoder = autoencoder
        self.critic = critic


def autoencoder_of(game: Game) -> LatentVariableModel:
    return game.autoencoder


def objective(weights: Weights) -> Term:
    """The ELBO and distances between aggregated posterior and prior, weighed."""
    latent, of = comparison.latent, autoencoder_of
    term = objectives.elbo(rate=Rate(beta=weights.beta, analytic=True), of=of)
    term = term + weights.mmd * distances.mmd(latent, of=of)
    if weights.critic:
        game = adversarial.generator(latent, bounds.gan.non_saturating, of=of)
        term = term + weights.critic * game
    return term


def players(config: Config, weights: Weights) -> list[Player]:
    learning_rate = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    autoencoder = Player(
        name="autoencoder",
        owns=("autoencoder",),
        loss=objective(weights),
        optimizer=optax.adam(learning_rate),
    )
    if not weights.critic:
        return [autoencoder]
    latent, of = comparison.latent, autoencoder_of
    critic = Player(
        name="critic",
        owns=("critic",),
        loss=adversarial.critic(latent, bounds.gan.non_saturating, of=of)
        + 0.1 * adversarial.r1(latent, of=of),
        optimizer=optax.adam(learning_rate, b1=0.5),
    )
    return [critic, autoencoder]


def build(config: Config, dataset: Dataset) -> Game:
    shape = dataset.train.shape[1:]
    hidden = config.hidden or (100 if math.prod(shape) < 500 else 400)
    rngs = nnx.Rngs(config.seed)
    encoder = MLP(shape, (hidden, hidden), 2 * config.latent, rngs=rngs)
    decoder = MLP(config.latent, (hidden, hidden), shape, rngs=rngs)
    model = LatentVariableModel(
        prior=StandardNormal(config.latent),
        likelihood=Bernoulli(decoder),
        posterior=FactorizedNormal(encoder),
    )
    critic = MLP(config.latent, (hidden, hidden), 1, activation=jax.nn.relu, rngs=rngs)
    return Game(model, critic)


def train(config: Config, dataset: Dataset, name: Name, directory: Path) -> Fit:
    team = players(config, MODELS[name])
    plan = Plan(
        num_rounds=config.steps,
        batch_size=config.batch_size,
        transform=data.binarize if dataset.binarization == "dynamic" else None,
        rounds_per_call=max(config.steps // 20, 1),
        directory=directory,
        label=name,
    )
    return fit(jax.random.key(config.seed), build(config, dataset), team, dataset.train, plan)


def training_events(config: Config, dataset: Dataset) -> jax.Array:
    """Binary training images, drawn once where training draws them anew."""
    x = jnp.asarray(dataset.train[: config.events])
    if dataset.binarization == "dynamic":
        return data.binarize(jax.random.key(0), x)
    return x


def evaluate(config: Config, dataset: Dataset, model: LatentVariableModel) -> dict[str, Any]:
    """Figures of one model, in nats an image where they have a unit."""
    keys = jax.random.split(jax.random.key(config.seed), 5)
    x, test = training_events(config, dataset), jnp.asarray(dataset.test)
    parts = evaluation.decomposition(keys[0], model, x)
    nll = evaluation.log_likelihood(keys[1], model, test, num_particles=config.particles)
    units = evaluation.active_units(keys[2], model, test)[0]
    on_test = evaluation.elbo(keys[3], model, test)
    term = distances.mmd(comparison.latent)
    mmd, _ = jax.jit(term)(model, keys[4], test, ())
    return {
        "reconstruction": float(parts.reconstruction),
        "information": float(parts.information),
        "marginal_kl": float(parts.marginal_kl),
        "elbo": float(parts.elbo),
        "test_elbo": on_test.elbo,
        "nll": nll.nll,
        "nll_standard_error": nll.standard_error,
        "active_units": int(np.sum(units)),
        "test_mmd": float(mmd),
    }


def save_pictures(
    config: Config, dataset: Dataset, trained: dict[str, LatentVariableModel], out: Path
) -> None:
    """A row of ten for each model: means of x given z of the prior; reconstructions likewise."""
    z = jax.random.normal(jax.random.key(config.seed), (10, config.latent))
    x = jnp.asarray(dataset.test[:10])
    samples, reconstructions = [], [x]
    for model in trained.values():
        samples.append(jax.vmap(model.decode)(z))
        codes = jax.vmap(model.posterior.mean)(x)
        reconstructions.append(jax.vmap(model.decode)(codes))
    pictures.save_samples(out / "samples.png", jnp.concatenate(samples))
    pictures.save_samples(out / "reconstructions.png", jnp.concatenate(reconstructions))


def print_table(config: Config, dataset: Dataset, rows: list[dict[str, Any]]) -> None:
    events = min(config.events, len(dataset.train))
    title = (
        f"{dataset.name}: the ELBO of {events} training images in nats, taken apart "
        f"(information at most {math.log(events):.2f}); NLL of the test images"
    )
    columns = ("weights", "E log p(x|z)", "I(x; z)", "KL(q(z)||p)", "ELBO", "NLL", "active")
    table = Table("model", *columns, title=title)
    for row in rows:
        names = ("reconstruction", "information", "marginal_kl", "elbo", "nll")
        figures = [f"{row[name]:.2f}" for name in names]
        active = f"{row['active_units']} of {config.latent}"
        weights = "/".join(f"{row[name]:g}" for name in Weights._fields)
        table.add_row(row["model"], weights, *figures, active)
    Console().print(table)
    Console().print("weights: beta / MMD / critic")


def main(config: Config) -> list[dict[str, Any]]:
    start = time.perf_counter()
    dataset = data.load(config.dataset, config.data_dir)
    if dataset.num_levels != 2:
        raise ValueError(f"{dataset.name} is not binary, which the Bernoulli decoder needs.")
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    out = config.out or Path("runs") / "info_vae" / stamp
    settings = dataclasses.asdict(config)
    for local in ("out", "data_dir"):
        settings.pop(local)
    run_directory.prepare(out, settings, resume=False)
    rows, trained = [], {}
    for name in config.model:
        result = train(config, dataset, name, out / name.replace(" ", "-"))
        trained[name] = result.model.autoencoder
        figures = evaluate(config, dataset, trained[name])
        row = {"model": name, **MODELS[name]._asdict(), **figures}
        rows.append(row | {"train_seconds": result.seconds})
    save_pictures(config, dataset, trained, out)
    print_table(config, dataset, rows)
    run_directory.write_json(
        out / "results.json",
        {
            "units": "nats per image; seconds",
            "dataset": dataset.name,
            "nll_particles": config.particles,
            "seed": config.seed,
            "rows": rows,
            "wall_seconds": time.perf_counter() - start,
            "versions": run_directory.versions(),
            "git_commit": run_directory.git_commit(),
        },
    )
    print(f"pictures and figures: {out}")
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
