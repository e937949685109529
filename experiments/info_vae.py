"""beta-VAE, InfoVAE, WAE and AAE as weights of three terms: python -m experiments.info_vae.

Each model minimises `elbo(beta) + a * mmd(latent) + b * objectives.generator(latent)`; the table
says what becomes of the reconstruction, the information in z and the aggregated posterior, with a
weak decoder, in which pixels are independent given z, and with a PixelCNN, which can do without z.
Defaults take some ten minutes on two CPU cores.

Source: Zhao, Song & Ermon (2018), arXiv:1806.06514, section 3; Zhao, Song & Ermon (2019),
arXiv:1706.02262; Higgins et al. (2017); Tolstikhin et al. (2018), arXiv:1711.01558; Makhzani et al.
(2016), arXiv:1511.05644.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments import study
from genmix import data, divergences, evaluation, objectives
from genmix.data import Dataset
from genmix.densities import bernoulli
from genmix.evaluation import pictures
from genmix.families import (
    Autoregressive,
    Bernoulli,
    LatentVariableModel,
    Normal,
    StandardNormal,
)
from genmix.nets import MLP, GatedPixelCNN
from genmix.objectives import Rate, Term
from genmix.runs import command_line
from genmix.training import Game, Plan, Player


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
class Config(study.Resumable, study.Images):
    """All encoders are normal distributions, those of WAE-MMD and AAE too."""

    dataset: Literal["digits", "mnist", "binarized-mnist", "fashion-mnist"] = "digits"
    model: study.Each[Name] = tuple(MODELS)
    decoder: study.Each[Decoder] = ("mlp", "pixelcnn")
    """Each model is trained with each."""
    latent: study.Count = 8
    """Dimensions of z."""
    hidden: study.Count | None = None
    """Width of the two hidden layers; 100 for the digits, 400 for larger images."""
    width: study.Count = 16
    """Channels of the PixelCNN."""
    layers: study.Count = 4
    """Of the PixelCNN, the first 7x7 and the others 3x3."""
    steps: study.Count | None = None
    """6,000 with the weak decoder, and 2,000 with the PixelCNN."""
    batch_size: Annotated[int, study.Rule(lambda value: value >= 2, "be at least 2 for an MMD")] = (
        100
    )
    learning_rate: study.Positive = 2e-3
    """At the start; it falls to zero along a cosine."""
    particles: study.Count = 500
    """Particles of the NLL estimate."""
    events: study.Count = 1000
    """Training images over which the ELBO is taken apart; the information is at most their log."""


def objective(weights: Weights) -> Term:
    """The ELBO and distances between aggregated posterior and prior, weighed."""
    term = objectives.elbo(rate=Rate(beta=weights.beta, analytic=True))
    term = term + weights.mmd * objectives.mmd(objectives.latent)
    if weights.critic:
        game = objectives.generator(objectives.latent, divergences.gan.non_saturating)
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
    judged = objectives.critic(objectives.latent, divergences.gan.non_saturating)
    judged = judged + 0.1 * objectives.r1(objectives.latent)
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
            shape[:2], config.width, config.layers, cond_size=config.width, rngs=rngs
        )
        features = MLP(config.latent, (hidden,), (*shape[:2], config.width), rngs=rngs)
        likelihood = Autoregressive(network, bernoulli.Bernoulli(), shape=shape, encoder=features)
    model = LatentVariableModel(
        prior=StandardNormal(config.latent),
        likelihood=likelihood,
        posterior=Normal(encoder),
    )
    critic = MLP(config.latent, (hidden, hidden), 1, activation=jax.nn.relu, rngs=rngs)
    return Game(autoencoder=model, critic=critic)


def variant(config: Config, dataset: Dataset, name: Name, decoder: Decoder) -> study.Variant:
    steps = num_steps(config, decoder)
    plan = Plan(
        num_rounds=steps,
        batch_size=config.batch_size,
        transform=data.binarize if dataset.binarization == "dynamic" else None,
        rounds_per_call=max(steps // 20, 1),
    )
    return study.Variant(
        name=f"{name}, {decoder}",
        folder=f"{decoder}/{name.replace(' ', '-')}",
        row={"model": name, "decoder": decoder, **MODELS[name]._asdict()},
        build=lambda: build(config, dataset, decoder),
        players=players(config, MODELS[name], steps),
        data=dataset.train,
        plan=plan,
    )


def training_events(config: Config, dataset: Dataset) -> jax.Array:
    """Binary training images, drawn once where training draws them anew."""
    x = jnp.asarray(dataset.train[: config.events])
    if dataset.binarization == "dynamic":
        return data.binarize(jax.random.key(0), x)
    return x


def evaluate(config: Config, dataset: Dataset, model: LatentVariableModel) -> dict[str, Any]:
    """Figures of one model, in nats an image where they have a unit."""
    keys = jax.random.split(config.key, 5)
    x, test = training_events(config, dataset), jnp.asarray(dataset.test)
    rows = max(640_000 // math.prod(test.shape[1:]), 1)
    parts = evaluation.decomposition(keys[0], model, x)
    nll = evaluation.log_likelihood(
        keys[1], model, test, num_particles=config.particles, rows_per_chunk=rows
    )
    units = evaluation.active_units(keys[2], model, test)[0]
    on_test = evaluation.elbo(keys[3], model, test)
    term = objectives.mmd(objectives.latent)
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
    models: Sequence[LatentVariableModel],
    out: Path,
) -> None:
    """A row of ten for each model: x given z of the prior; reconstructions of the same images.

    They are means with the weak decoder, and draws with the PixelCNN.
    """
    z_key, x_key = jax.random.split(config.key)
    z, keys = jax.random.normal(z_key, (10, config.latent)), jax.random.split(x_key, 10)
    x = jnp.asarray(dataset.test[:10])
    samples, reconstructions = [], [x]
    for model in models:
        if decoder == "mlp":
            show = jax.vmap(model.decode)
        else:
            draw = lambda z, key, model=model: model.likelihood.sample(key, z)
            show = jax.jit(lambda z, draw=draw: jax.vmap(draw)(z, jax.random.clone(keys)))
        samples.append(show(z))
        reconstructions.append(show(jax.vmap(model.posterior.mean)(x)))
    pictures.save_samples(out / f"samples-{decoder}.png", jnp.concatenate(samples))
    pictures.save_samples(out / f"reconstructions-{decoder}.png", jnp.concatenate(reconstructions))


def table(config: Config, dataset: Dataset, decoder: Decoder) -> study.Table:
    events = min(config.events, len(dataset.train))
    title = (
        f"{dataset.name}, decoder {decoder}: the ELBO of {events} training images in "
        f"nats, taken apart (information at most {math.log(events):.2f}); NLL of the test images"
    )
    columns = {
        "model": "{model}",
        "weights": "{beta:g}/{mmd:g}/{critic:g}",
        "E log p(x|z)": "{reconstruction:.2f}",
        "I(x; z)": "{information:.2f}",
        "KL(q(z)||p)": "{marginal_kl:.2f}",
        "ELBO": "{elbo:.2f}",
        "NLL": "{nll:.2f}",
        "active": f"{{active_units}} of {config.latent}",
    }
    return study.Table(title, columns, lambda rows: [r for r in rows if r["decoder"] == decoder])


def experiment(config: Config) -> study.Study:
    dataset = config.load()
    if dataset.num_levels != 2:
        raise ValueError(f"{dataset.name} is not binary, which the Bernoulli decoder needs.")

    def draw(out: Path, found: Sequence[study.Result]) -> None:
        for decoder in config.decoder:
            models = [it.model.autoencoder for it in found if it.row["decoder"] == decoder]
            save_pictures(config, dataset, decoder, models, out)

    variants = [variant(config, dataset, n, d) for d in config.decoder for n in config.model]
    return study.Study(
        variants=variants,
        measure=lambda result: evaluate(config, dataset, result.model.autoencoder),
        draw=draw,
        tables=[table(config, dataset, decoder) for decoder in config.decoder],
        note="weights: beta / MMD / critic",
        facts={"dataset": dataset.name, "nll_particles": config.particles},
        units="nats per image; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("info_vae", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
