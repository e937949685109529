"""VAEs with critics of images, latents and features as added terms: python -m experiments.vae_gan.

Each model minimises -E log p(x | z) + KL(q(z | x) || p(z)) + w * the generator's loss against
critics of images and of latents, or has the critic's features in place of pixels (VAE-GAN).
Defaults train on scikit-learn's digits in a few minutes on two CPU cores.

Source: Larsen et al. (2016), arXiv:1512.09300; Rosca et al. (2017), arXiv:1706.04987; Makhzani et
al. (2016), arXiv:1511.05644.
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

from genmix import divergences, evaluation
from genmix.data import grey
from genmix.data.grey import Images
from genmix.evaluation import classifier, pictures, sample_quality
from genmix.families import FactorizedNormal, LatentVariableModel, StandardNormal
from genmix.nets import MLP, FixedScale
from genmix.objectives import Term, adversarial, autoencoding, comparison
from genmix.runs import command_line, run_directory
from genmix.training import Fit, Plan, Player, fit


class Weights(NamedTuple):
    """Of the terms beside the rate."""

    pixels: float = 1.0
    features: float = 0.0
    data: float = 0.0  # of the critic that compares images with means given z of the prior
    latent: float = 0.0  # of the critic that compares the aggregated posterior with the prior


Name = Literal["VAE", "+ data", "+ latent", "+ data + latent", "VAE-GAN"]
MODELS: dict[Name, Weights] = {
    "VAE": Weights(),
    "+ data": Weights(data=20.0),
    "+ latent": Weights(latent=5.0),
    "+ data + latent": Weights(data=20.0, latent=5.0),
    "VAE-GAN": Weights(pixels=0.0, features=1.0, data=20.0),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The likelihood of grey images is normal, with one scale for all pixels."""

    model: tuple[Name, ...] = tuple(MODELS)
    dataset: Literal["digits", "mnist", "fashion-mnist"] = "digits"
    data_dir: Path | None = None
    """Folder that holds mnist/, ...; the digits need none."""
    scale: float = 0.1
    """Standard deviation of a pixel given z, for images in [0, 1]."""
    latent: int = 8
    """Dimensions of z."""
    hidden: int | None = None
    """Width of the two hidden layers; 200 for the digits, 500 for larger images."""
    steps: int = 5000
    batch_size: int = 64
    learning_rate: float = 1e-3
    """Of all players at the start; it falls to zero along a cosine."""
    samples: int = 2000
    """Drawn for the table, at least 4."""
    particles: int = 500
    """Particles of the NLL estimate."""
    seed: int = 0
    out: Path | None = None
    """Directory of the run; runs/vae_gan/TIME if not given."""
    resume: bool = False
    """Go on with the run in --out, bit for bit."""

    def __post_init__(self):
        command_line.require(
            self,
            counts=("latent", "hidden", "steps", "batch_size", "particles"),
            positive=("scale", "learning_rate"),
            names=("model",),
            at_least={"samples": 4},  # for 3 neighbours
        )


class ImageCritic(nnx.Module):
    """Score of an image, by features of its own."""

    def __init__(self, body: MLP, out: nnx.Linear):
        self.body, self.out = body, out

    def features(self, x: jax.Array) -> jax.Array:
        return jax.nn.relu(self.body(2 * x - 1))

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.out(self.features(x))[0]


class Game(nnx.Module):
    """A VAE, and critics of images and of latents."""

    def __init__(self, model: LatentVariableModel, images: ImageCritic, latents: MLP):
        self.model = model
        self.images = images
        self.latents = latents


def model_of(game: Game) -> LatentVariableModel:
    return game.model


def build(config: Config, source: Images) -> Game:
    shape, rngs = source.train.shape[1:], nnx.Rngs(config.seed)
    hidden = config.hidden or (200 if math.prod(shape) < 500 else 500)
    relu: dict[str, Any] = {"activation": jax.nn.relu, "rngs": rngs}
    means = nnx.Sequential(MLP(config.latent, (hidden, hidden), shape, **relu), jax.nn.sigmoid)
    model = LatentVariableModel(
        prior=StandardNormal(config.latent),
        likelihood=FactorizedNormal(FixedScale(means, config.scale), min_scale=1e-6),
        posterior=FactorizedNormal(MLP(shape, (hidden, hidden), 2 * config.latent, **relu)),
    )
    images = ImageCritic(MLP(shape, (hidden,), hidden, **relu), nnx.Linear(hidden, 1, rngs=rngs))
    return Game(model, images, MLP(config.latent, (hidden, hidden), 1, **relu))


def games(weights: Weights) -> dict[str, tuple[float, comparison.Comparison, Any]]:
    """The critics that take part: weight, what is compared, and which critic it is."""
    both = {
        "images": (weights.data, comparison.decoded, lambda game: game.images),
        "latents": (weights.latent, comparison.latent, lambda game: game.latents),
    }
    return {name: entry for name, entry in both.items() if entry[0]}


def objective(weights: Weights) -> Term:
    """What the VAE minimises."""
    of, losses = model_of, divergences.gan.non_saturating
    term = autoencoding.rate(of)
    if weights.pixels:
        term += weights.pixels * autoencoding.reconstruction(of)
    if weights.features:
        features = ImageCritic.features
        seen = adversarial.feature_likelihood(features, of=of, by=lambda game: game.images)
        term += weights.features * seen
    for weight, compared, by in games(weights).values():
        term += weight * adversarial.generator(compared, losses, of=of, by=by)
    return term


def players(config: Config, weights: Weights) -> list[Player]:
    learning_rate = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    losses = divergences.gan.non_saturating
    adam = optax.adam(learning_rate, b1=0.5, b2=0.99)
    team = []
    for name, (_, compared, by) in games(weights).items():
        options: dict[str, Any] = {"of": model_of, "by": by}
        loss = adversarial.critic(compared, losses, **options)
        loss += 0.1 * adversarial.r1(compared, **options)
        team.append(Player(name=name, owns=(name,), loss=loss, optimizer=adam))
    model = Player(name="model", owns=("model",), loss=objective(weights), optimizer=adam)
    return [*team, model]


def train(config: Config, name: Name, source: Images, directory: Path) -> Fit:
    plan = Plan(
        num_rounds=config.steps,
        batch_size=config.batch_size,
        average_decay=0.999,
        rounds_per_call=max(config.steps // 20, 1),
        directory=directory,
        resume=config.resume,
        label=name,
    )
    x = jnp.asarray(source.train, jnp.float32)
    team = players(config, MODELS[name])
    return fit(jax.random.key(config.seed), build(config, source), team, x, plan)


def evaluate(
    config: Config, model: LatentVariableModel, source: Images, judge: classifier.Classifier
) -> tuple[dict[str, Any], jax.Array]:
    """Figures on the test images, in nats an image where they have a unit; means as samples."""
    elbo_key, nll_key, draw_key, part_key = jax.random.split(jax.random.key(config.seed + 1), 4)
    x = jnp.asarray(source.test, jnp.float32)
    bound = evaluation.elbo(elbo_key, model, x, num_samples=20)
    parts = evaluation.decomposition(part_key, model, x, num_samples=4)
    nll = evaluation.log_likelihood(nll_key, model, x, num_particles=config.particles)
    decode = lambda key: model.decode(model.prior.sample(key))
    samples = jax.jit(jax.vmap(decode))(jax.random.split(draw_key, config.samples))
    quality = sample_quality.of_images(judge, samples, source.test)
    figures = {
        "log_likelihood": bound.elbo + bound.rate,
        "rate": bound.rate,
        "information": float(parts.information),
        "marginal_kl": float(parts.marginal_kl),
        "nll": nll.nll,
        "nll_standard_error": nll.standard_error,
    }
    return figures | quality._asdict(), samples


def save_pictures(
    out: Path, source: Images, models: dict[str, LatentVariableModel], samples: list[jax.Array]
) -> None:
    """Two rows of samples for each model; a row of images, and one of each model's versions."""
    pictures.save_samples(out / "samples.png", np.concatenate([x[:20] for x in samples]))
    x = jnp.asarray(source.test[:10], jnp.float32)
    again = [jax.vmap(model.decode)(jax.vmap(model.posterior.mean)(x)) for model in models.values()]
    pictures.save_samples(out / "reconstructions.png", jnp.concatenate([x, *again]))


def print_table(config: Config, rows: list[dict[str, Any]], accuracy: float) -> None:
    columns = ("log p(x|z)", "KL", "NLL", "MODE", "Fréchet", "precision", "recall", "s")
    title = (
        f"{config.dataset}: test images in nats; means given z of the prior, seen by a classifier "
        f"of accuracy {accuracy:.1%}"
    )
    table = Table("model", *columns, title=title)
    for row in rows:
        names = ("log_likelihood", "rate", "nll", "mode_score", "frechet", "precision", "recall")
        figures = [f"{row[name]:.2f}" for name in names]
        table.add_row(row["model"], *figures, f"{row['train_seconds']:.0f}")
    Console().print(table)


def main(config: Config) -> list[dict[str, Any]]:
    start = time.perf_counter()
    source = grey.load_images(config.dataset, config.data_dir)
    command_line.require_batch(config.batch_size, len(source.train), config.dataset)
    out = run_directory.begin("vae_gan", config)
    key, (train_labels, test_labels) = jax.random.key(config.seed), source.labels
    judge = classifier.train(key, source.train, train_labels, directory=out / "classifier")
    accuracy = classifier.accuracy(judge, source.test, test_labels)
    rows, models, samples = [], {}, []
    for name in config.model:
        trained = train(config, name, source, out / name.replace(" ", ""))
        models[name] = trained.model.model
        figures, drawn = evaluate(config, models[name], source, judge)
        samples.append(drawn)
        row = {"model": name} | MODELS[name]._asdict() | figures
        rows.append(row | {"train_seconds": trained.seconds})
    save_pictures(out, source, models, samples)
    print_table(config, rows, accuracy)
    run_directory.write_results(
        out,
        start,
        units="nats per image, of a density on [0, 1] a pixel; seconds",
        dataset=config.dataset,
        nll_particles=config.particles,
        classifier_accuracy=accuracy,
        seed=config.seed,
        rows=rows,
    )
    print(f"pictures and figures: {out}")
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
