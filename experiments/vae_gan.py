"""VAEs with critics of images, latents and features as added terms: python -m experiments.vae_gan.

Each model minimises -E log p(x | z) + KL(q(z | x) || p(z)) + w * the generator's loss against
critics of images and of latents, or has the critic's features in place of pixels (VAE-GAN).
Defaults train on scikit-learn's digits in a few minutes on two CPU cores.

Source: Larsen et al. (2016), arXiv:1512.09300; Rosca et al. (2017), arXiv:1706.04987; Makhzani et
al. (2016), arXiv:1511.05644.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments import study
from genmix import divergences, evaluation, objectives
from genmix.evaluation import model_pictures, sample_quality
from genmix.families import LatentVariableModel, Normal, StandardNormal
from genmix.nets import MLP, FeatureCritic, Rescale
from genmix.runs import command_line
from genmix.training import Game, Player

LOSSES = divergences.gan.non_saturating


class Weights(NamedTuple):
    """Of the terms beside the rate."""

    pixels: float = 1.0
    features: float = 0.0
    data: float = 0.0  # of the critic of images
    latent: float = 0.0  # of the critic that compares the aggregated posterior with the prior


Name = Literal["VAE", "+ data", "+ latent", "+ data + latent", "VAE-GAN"]
MODELS: dict[Name, Weights] = {
    "VAE": Weights(),
    "+ data": Weights(data=20.0),
    "+ latent": Weights(latent=5.0),
    "+ data + latent": Weights(data=20.0, latent=5.0),
    "VAE-GAN": Weights(pixels=0.0, features=1.0, data=20.0),
}
JUDGED = {"means": objectives.decoded, "samples": objectives.data}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.OnGreyImages):
    """The likelihood of grey images is normal, with one scale for all pixels."""

    model: study.Each[Name] = tuple(MODELS)
    judged: Literal["means", "samples"] = "means"
    """What of x given z of the prior the critic of images compares with images."""
    scale: study.Positive = 0.1
    """Standard deviation of a pixel given z, for images in [0, 1]."""
    latent: study.Count = 8
    """Dimensions of z."""
    hidden: study.Count | None = None
    """Width of the two hidden layers; 200 for the digits, 500 for larger images."""
    batch_size: study.Count = 64
    particles: study.Count = 500
    """Particles of the NLL estimate."""


def build(config: Config, shape: tuple[int, ...]) -> Game:
    """A VAE, and critics of images and of latents."""
    rngs, hidden = nnx.Rngs(config.seed), config.hidden or study.by_size(shape, 200, 500)
    relu: dict[str, Any] = {"activation": jax.nn.relu, "rngs": rngs}
    means = nnx.Sequential(MLP(config.latent, (hidden, hidden), shape, **relu), jax.nn.sigmoid)
    model = LatentVariableModel(
        prior=StandardNormal(config.latent),
        likelihood=Normal(means, scale=config.scale),
        posterior=Normal(MLP(shape, (hidden, hidden), config.latent, **relu)),
    )
    seen = nnx.Sequential(MLP(shape, (hidden,), hidden, **relu), jax.nn.relu)
    images = FeatureCritic(Rescale(seen, loc=0.5, scale=0.5), hidden, rngs=rngs)
    latents = MLP(config.latent, (hidden, hidden), 1, **relu)
    return Game(model=model, images=images, latents=latents)


def players(config: Config, weights: Weights) -> list[Player]:
    """The critics that are asked for, which move first, and the VAE."""
    adam = optax.adam(config.falling(), b1=0.5, b2=0.99)
    loss, team = objectives.rate(), []
    if weights.pixels:
        loss += weights.pixels * objectives.reconstruction()
    if weights.features:
        seen = objectives.feature_likelihood(FeatureCritic.features, by="images")
        loss += weights.features * seen
    for critic, weight, compared in [
        ("images", weights.data, JUDGED[config.judged]),
        ("latents", weights.latent, objectives.latent),
    ]:
        if weight:
            loss += weight * objectives.generator(compared, LOSSES, by=critic)
            judged = objectives.critic(compared, LOSSES, by=critic)
            judged += 0.1 * objectives.r1(compared, by=critic)
            team.append(Player(name=critic, loss=judged.of("model"), optimizer=adam))
    return [*team, Player(name="model", loss=loss.of("model"), optimizer=adam)]


def evaluate(
    config: Config, model: LatentVariableModel, x: jax.Array, judge: study.Judge
) -> dict[str, Any]:
    """Figures on the test images, in nats an image where they have a unit; means as samples."""
    elbo_key, nll_key, draw_key, part_key = jax.random.split(jax.random.key(config.seed + 1), 4)
    bound = evaluation.elbo(elbo_key, model, x, num_samples=20)
    parts = evaluation.decomposition(part_key, model, x, num_samples=4)
    nll = evaluation.log_likelihood(nll_key, model, x, num_particles=config.particles)
    return {
        "log_likelihood": bound.elbo + bound.rate,
        "rate": bound.rate,
        "information": float(parts.information),
        "marginal_kl": float(parts.marginal_kl),
        "nll": nll.nll,
        "nll_standard_error": nll.standard_error,
        **judge.quality(sample_quality.draw_means(draw_key, model, config.samples)),
    }


def experiment(config: Config) -> study.Study:
    source = config.images()
    test, judge = jnp.asarray(source.test, jnp.float32), study.judge_of(config, source)
    variant = lambda name: study.Variant(
        name=name,
        row={"model": name, **MODELS[name]._asdict()},
        build=lambda: build(config, test.shape[1:]),
        players=players(config, MODELS[name]),
        data=np.asarray(source.train, np.float32),
        plan=config.plan(reports=20, average_decay=0.999),
    )

    def draw(out: Path, found: Sequence[study.Result]) -> None:
        """Two rows of samples for each model; a row of images, and one of each model's versions."""
        models = [it.model.model for it in found]
        model_pictures.save_samples(out / "samples.png", config.key, models, num_images=20)
        again = out / "reconstructions.png"
        model_pictures.save_reconstructions(again, config.key, models, test[:10])

    title = (
        "{dataset}: test images in nats; means given z of the prior, seen by a classifier of "
        "accuracy {classifier_accuracy:.1%}; a critic of images sees {judged}"
    )
    columns = {
        "model": "{model}",
        "log p(x|z)": "{log_likelihood:.2f}",
        "KL": "{rate:.2f}",
        "NLL": "{nll:.2f}",
        **study.QUALITY,
        "s": "{train_seconds:.0f}",
    }
    facts = {"dataset": config.dataset, "nll_particles": config.particles}
    return study.Study(
        variants=[variant(name) for name in config.model],
        measure=lambda it: evaluate(config, it.model.model, test, judge(it.out)),
        draw=draw,
        tables=[study.Table(title, columns)],
        facts=lambda out: facts | {"classifier_accuracy": judge(out).accuracy},
        units="nats per image, of a density on [0, 1] a pixel; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("vae_gan", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
