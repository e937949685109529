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
import optax
from flax import nnx

from experiments import study
from genmix import divergences, evaluation, objectives
from genmix.data import Dataset
from genmix.densities import bernoulli
from genmix.evaluation import model_pictures
from genmix.families import Autoregressive, Bernoulli, LatentVariableModel, Normal, StandardNormal
from genmix.nets import MLP, GatedPixelCNN
from genmix.objectives import Rate
from genmix.runs import command_line
from genmix.training import Game, Player


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
LOSSES = divergences.gan.non_saturating


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
    batch_size: Annotated[int, study.at_least(2, "for an MMD")] = 100
    learning_rate: study.Positive = 2e-3
    """At the start; it falls to zero along a cosine."""
    particles: study.Count = 500
    """Particles of the NLL estimate."""
    events: study.Count = 1000
    """Training images over which the ELBO is taken apart; the information is at most their log."""


def players(config: Config, weights: Weights, steps: int) -> list[Player]:
    """The ELBO and distances between aggregated posterior and prior, weighed; a critic if asked."""
    rate = optax.cosine_decay_schedule(config.learning_rate, steps)
    adam = lambda b1: optax.adam(rate, b1=b1)
    loss = objectives.elbo(rate=Rate(beta=weights.beta, analytic=True))
    loss += weights.mmd * objectives.mmd(objectives.latent)
    team = []
    if weights.critic:
        loss += weights.critic * objectives.generator(objectives.latent, LOSSES)
        judged = objectives.critic(objectives.latent, LOSSES) + 0.1 * objectives.r1(
            objectives.latent
        )
        team.append(Player(name="critic", loss=judged.of("autoencoder"), optimizer=adam(0.5)))
    return [*team, Player(name="autoencoder", loss=loss.of("autoencoder"), optimizer=adam(0.9))]


def build(config: Config, shape: tuple[int, ...], decoder: Decoder = "mlp") -> Game:
    """An autoencoder, and a critic of its latents that only the AAE asks."""
    rngs, hidden = nnx.Rngs(config.seed), config.hidden or study.by_size(shape, 100, 400)
    encoder = MLP(shape, (hidden, hidden), config.latent, rngs=rngs)
    if decoder == "mlp":
        likelihood: Any = Bernoulli(MLP(config.latent, (hidden, hidden), shape, rngs=rngs))
    else:
        network = GatedPixelCNN(
            shape[:2], config.width, config.layers, cond_size=config.width, rngs=rngs
        )
        features = MLP(config.latent, (hidden,), (*shape[:2], config.width), rngs=rngs)
        likelihood = Autoregressive(network, bernoulli.Bernoulli(), shape=shape, encoder=features)
    prior, posterior = StandardNormal(config.latent), Normal(encoder)
    model = LatentVariableModel(prior=prior, likelihood=likelihood, posterior=posterior)
    critic = MLP(config.latent, (hidden, hidden), 1, activation=jax.nn.relu, rngs=rngs)
    return Game(autoencoder=model, critic=critic)


def evaluate(config: Config, dataset: Dataset, model: LatentVariableModel) -> dict[str, Any]:
    """Figures of one model, in nats an image where they have a unit."""
    keys = jax.random.split(config.key, 5)
    x, test = jnp.asarray(dataset.train[: config.events]), jnp.asarray(dataset.test)
    if dataset.transform is not None:  # bits, drawn once where training draws them anew
        x = dataset.transform(jax.random.key(0), x)
    parts = evaluation.decomposition(keys[0], model, x)
    rows = max(640_000 // test[0].size, 1)
    nll = evaluation.log_likelihood(
        keys[1], model, test, num_particles=config.particles, rows_per_chunk=rows
    )
    mmd, _ = jax.jit(objectives.mmd(objectives.latent))(model, keys[4], test, ())
    return {
        **{name: float(nats) for name, nats in parts._asdict().items()},
        "elbo": float(parts.elbo),
        "test_elbo": evaluation.elbo(keys[3], model, test).elbo,
        "nll": nll.nll,
        "nll_standard_error": nll.standard_error,
        "active_units": int(evaluation.active_units(keys[2], model, test)[0].sum()),
        "test_mmd": float(mmd),
    }


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

    def variant(name: Name, decoder: Decoder) -> study.Variant:
        steps = config.steps or (6000 if decoder == "mlp" else 2000)
        return study.Variant(
            name=f"{name}, {decoder}",
            folder=f"{decoder}/{name.replace(' ', '-')}",
            row={"model": name, "decoder": decoder, **MODELS[name]._asdict()},
            build=lambda: build(config, dataset.train.shape[1:], decoder),
            players=players(config, MODELS[name], steps),
            data=dataset.train,
            plan=study.plan(steps, config.batch_size, transform=dataset.transform),
        )

    def draw(out: Path, found: Sequence[study.Result]) -> None:
        for decoder in config.decoder:
            models = [it.model.autoencoder for it in found if it.row["decoder"] == decoder]
            samples, again = out / f"samples-{decoder}.png", out / f"reconstructions-{decoder}.png"
            model_pictures.save_samples(samples, config.key, models)
            model_pictures.save_reconstructions(again, config.key, models, dataset.test[:10])

    return study.Study(
        variants=[variant(name, decoder) for decoder in config.decoder for name in config.model],
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
