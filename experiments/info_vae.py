"""beta-VAE, InfoVAE, WAE and AAE as weights of three terms: python -m experiments.info_vae.

Each model minimises `elbo(beta) + a * mmd(latent) + b * adversarial.generator(latent)`; the table
says what becomes of the reconstruction, the information in z and the aggregated posterior, with a
weak decoder, in which pixels are independent given z, and with a PixelCNN, which can do without z.
Defaults take some ten minutes on two CPU cores.

Source: Zhao, Song & Ermon (2018), arXiv:1806.06514, section 3; Zhao, Song & Ermon (2019),
arXiv:1706.02262; Higgins et al. (2017); Tolstikhin et al. (2018), arXiv:1711.01558; Makhzani et al.
(2016), arXiv:1511.05644.
"""

import dataclasses
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

from genmix import data, divergences, evaluation, objectives
from genmix.data import Dataset
from genmix.evaluation import pictures
from genmix.families import (
    Autoregressive,
    Bernoulli,
    BinaryLevels,
    LatentVariableModel,
    Normal,
    StandardNormal,
)
from genmix.nets import MLP, GatedPixelCNN
from genmix.objectives import Rate, Term, adversarial, comparison, distances
from genmix.runs import command_line, run_directory
from genmix.training import Fit, Game, Plan, Player, fit


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


Decoder = Literal["mlp", "pixelcnn"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """All encoders are normal distributions, those of WAE-MMD and AAE too."""

    dataset: Literal["digits", "mnist", "binarized-mnist", "fashion-mnist"] = "digits"
    data_dir: Path | None = None
    """Folder that holds mnist/, ...; the digits need none."""
    model: tuple[Name, ...] = tuple(MODELS)
    decoder: tuple[Decoder, ...] = ("mlp", "pixelcnn")
    """Each model is trained with each."""
    latent: int = 8
    """Dimensions of z."""
    hidden: int | None = None
    """Width of the two hidden layers; 100 for the digits, 400 for larger images."""
    width: int = 16
    """Channels of the PixelCNN."""
    layers: int = 4
    """Of the PixelCNN, the first 7x7 and the others 3x3."""
    steps: int | None = None
    """6,000 with the weak decoder, and 2,000 with the PixelCNN."""
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
    resume: bool = False
    """Go on with the run in --out, bit for bit."""

    def __post_init__(self):
        command_line.require(
            self,
            counts=("latent", "hidden", "width", "layers", "steps", "particles", "events"),
            positive=("learning_rate",),
            names=("model", "decoder"),
        )
        if self.batch_size < 2:
            raise ValueError(f"batch_size must be at least 2 for an MMD, got {self.batch_size}.")


def objective(weights: Weights) -> Term:
    """The ELBO and distances between aggregated posterior and prior, weighed."""
    term = objectives.elbo(rate=Rate(beta=weights.beta, analytic=True))
    term = term + weights.mmd * distances.mmd(comparison.latent)
    if weights.critic:
        game = adversarial.generator(comparison.latent, divergences.gan.non_saturating)
        term = term + weights.critic * game
    return term.of("autoencoder")


def num_steps(config: Config, decoder: Decoder) -> int:
    return config.steps or (6000 if decoder == "mlp" else 2000)


def players(config: Config, weights: Weights, steps: int) -> list[Player]:
    learning_rate = optax.cosine_decay_schedule(config.learning_rate, steps)
    autoencoder = Player(
        name="autoencoder",
        loss=objective(weights),
        optimizer=optax.adam(learning_rate),
    )
    if not weights.critic:
        return [autoencoder]
    judged = adversarial.critic(comparison.latent, divergences.gan.non_saturating)
    judged = judged + 0.1 * adversarial.r1(comparison.latent)
    critic = Player(
        name="critic",
        loss=judged.of("autoencoder"),
        optimizer=optax.adam(learning_rate, b1=0.5),
    )
    return [critic, autoencoder]


def build(config: Config, dataset: Dataset, decoder: Decoder = "mlp") -> Game:
    """An autoencoder, and a critic of its latents that only the AAE asks."""
    shape = dataset.train.shape[1:]
    hidden = config.hidden or (100 if math.prod(shape) < 500 else 400)
    rngs = nnx.Rngs(config.seed)
    encoder = MLP(shape, (hidden, hidden), config.latent, rngs=rngs)
    if decoder == "mlp":
        likelihood: Any = Bernoulli(MLP(config.latent, (hidden, hidden), shape, rngs=rngs))
    else:
        network = GatedPixelCNN(
            shape[:2], 1, config.width, config.layers, 1, cond_size=config.width, rngs=rngs
        )
        features = MLP(config.latent, (hidden,), (*shape[:2], config.width), rngs=rngs)
        likelihood = Autoregressive(network, BinaryLevels(), shape=shape, encoder=features)
    model = LatentVariableModel(
        prior=StandardNormal(config.latent),
        likelihood=likelihood,
        posterior=Normal(encoder),
    )
    critic = MLP(config.latent, (hidden, hidden), 1, activation=jax.nn.relu, rngs=rngs)
    return Game(autoencoder=model, critic=critic)


def train(config: Config, dataset: Dataset, name: Name, decoder: Decoder, directory: Path) -> Fit:
    steps = num_steps(config, decoder)
    team = players(config, MODELS[name], steps)
    plan = Plan(
        num_rounds=steps,
        batch_size=config.batch_size,
        transform=data.binarize if dataset.binarization == "dynamic" else None,
        rounds_per_call=max(steps // 20, 1),
        directory=directory,
        resume=config.resume,
        label=f"{name}, {decoder}",
    )
    game = build(config, dataset, decoder)
    return fit(jax.random.key(config.seed), game, team, dataset.train, plan)


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
    rows = max(640_000 // math.prod(test.shape[1:]), 1)
    parts = evaluation.decomposition(keys[0], model, x)
    nll = evaluation.log_likelihood(
        keys[1], model, test, num_particles=config.particles, rows_per_chunk=rows
    )
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
    config: Config,
    dataset: Dataset,
    decoder: Decoder,
    trained: dict[str, LatentVariableModel],
    out: Path,
) -> None:
    """A row of ten for each model: x given z of the prior; reconstructions of the same images.

    They are means with the weak decoder, and draws with the PixelCNN.
    """
    z_key, x_key = jax.random.split(jax.random.key(config.seed))
    z, keys = jax.random.normal(z_key, (10, config.latent)), jax.random.split(x_key, 10)
    x = jnp.asarray(dataset.test[:10])
    samples, reconstructions = [], [x]
    for model in trained.values():
        if decoder == "mlp":
            show = jax.vmap(model.decode)
        else:
            draw = lambda z, key, model=model: model.likelihood.sample(key, z)
            show = jax.jit(lambda z, draw=draw: jax.vmap(draw)(z, jax.random.clone(keys)))
        samples.append(show(z))
        reconstructions.append(show(jax.vmap(model.posterior.mean)(x)))
    pictures.save_samples(out / f"samples-{decoder}.png", jnp.concatenate(samples))
    pictures.save_samples(out / f"reconstructions-{decoder}.png", jnp.concatenate(reconstructions))


def print_table(config: Config, dataset: Dataset, rows: list[dict[str, Any]]) -> None:
    events = min(config.events, len(dataset.train))
    title = (
        f"{dataset.name}, decoder {rows[0]['decoder']}: the ELBO of {events} training images in "
        f"nats, taken apart (information at most {math.log(events):.2f}); NLL of the test images"
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
    data.require(dataset, batch_size=config.batch_size)
    out = run_directory.begin("info_vae", config)
    rows = []
    for decoder in config.decoder:
        trained = {}
        for name in config.model:
            directory = out / decoder / name.replace(" ", "-")
            result = train(config, dataset, name, decoder, directory)
            trained[name] = result.model.autoencoder
            figures = evaluate(config, dataset, trained[name])
            row = {"model": name, "decoder": decoder, **MODELS[name]._asdict(), **figures}
            rows.append(row | {"train_seconds": result.seconds})
        save_pictures(config, dataset, decoder, trained, out)
    for decoder in config.decoder:
        print_table(config, dataset, [row for row in rows if row["decoder"] == decoder])
    run_directory.write_results(
        out,
        start,
        units="nats per image; seconds",
        dataset=dataset.name,
        nll_particles=config.particles,
        seed=config.seed,
        rows=rows,
    )
    print(f"pictures and figures: {out}")
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
