"""What beta does to disentanglement, on rendered sprites: python -m experiments.beta_vae.

One VAE is trained for each beta; its means are scored by the mutual information gap and by the
metric of FactorVAE. Defaults take a few minutes on two CPU cores.

Source: Higgins et al. (2017), beta-VAE; Chen et al. (2018), arXiv:1802.04942; Kim & Mnih (2018),
arXiv:1802.05983.
"""

import dataclasses
import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments import study
from genmix import data, evaluation, objectives
from genmix.data import sprites
from genmix.evaluation import disentanglement, latent_pictures, pictures
from genmix.families import Bernoulli, LatentVariableModel, Normal, StandardNormal
from genmix.nets import MLP
from genmix.objectives import Rate
from genmix.runs import command_line
from genmix.training import Player


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.Training):
    """Beta multiplies the rate in nats beside the log-likelihood summed over all pixels."""

    beta: study.Each[study.NotNegative] = (1.0, 2.0, 4.0, 8.0)
    side: study.Count = 24
    """Of the images, in pixels."""
    images: study.Count = 40_000
    """Rendered for training."""
    test_images: study.Count = 5000
    """Rendered for the figures."""
    latent: Annotated[int, study.Rule(lambda value: value >= 2, "be at least 2 for a gap")] = 8
    """Dimensions of z."""
    hidden: study.Count = 256
    """Width of the two hidden layers."""
    steps: study.Count = 15_000
    batch_size: study.Count = 64


def build(config: Config) -> LatentVariableModel:
    shape, rngs, widths = (config.side, config.side, 1), nnx.Rngs(config.seed), (config.hidden,) * 2
    relu: dict[str, Any] = {"activation": jax.nn.relu, "rngs": rngs}
    return LatentVariableModel(
        prior=StandardNormal(config.latent),
        likelihood=Bernoulli(MLP(config.latent, widths, shape, **relu)),
        posterior=Normal(MLP(shape, widths, config.latent, **relu)),
    )


def variant(config: Config, beta: float, images: np.ndarray) -> study.Variant:
    loss = objectives.elbo(rate=Rate(beta=beta, analytic=True))
    return study.Variant(
        name=f"beta-{beta:g}",
        row={"beta": beta},
        build=lambda: build(config),
        players=[Player(loss=loss, optimizer=optax.adam(config.falling()))],
        data=images,
        plan=config.plan(reports=20, transform=data.binarize),
    )


def evaluate(config: Config, test: sprites.Sprites, result: study.Result) -> dict[str, Any]:
    """Figures on new images, in nats an image where they have a unit; a picture of traversals."""
    model = result.model
    elbo_key, unit_key, noise_key = jax.random.split(jax.random.key(config.seed + 1), 3)
    x = data.binarize(noise_key, jnp.asarray(test.images))
    codes = np.asarray(jax.jit(jax.vmap(model.posterior.mean))(x))
    bound = evaluation.elbo(elbo_key, model, x[:1000], num_samples=10)
    units = evaluation.active_units(unit_key, model, x[:1000], num_samples=20)[0]
    informations = disentanglement.mutual_informations(codes, test.factors)
    order = np.argsort(-informations.sum(axis=1))  # those that tell most first
    path, decode = result.out / f"{result.name}.png", jax.jit(jax.vmap(model.decode))
    z = model.posterior.mean(jnp.asarray(test.images[0]))
    latent_pictures.save_traversal(path, decode, z, order, reach=2.0, num_images=10)
    return {
        "elbo": bound.elbo,
        "log_likelihood": bound.elbo + bound.rate,
        "rate": bound.rate,
        "active_units": int(np.sum(units)),
        "mig": disentanglement.mig(codes, test.factors),
        # Where no code varies, none can vote: chance.
        "factor_vae": disentanglement.factor_vae_score(codes, test.factors, seed=config.seed)
        if np.any(np.var(codes, axis=0) > 1e-4)
        else 1 / len(sprites.NAMES),
        "informations": {
            name: informations[order, k].tolist() for k, name in enumerate(sprites.NAMES)
        },
    }


def experiment(config: Config) -> study.Study:
    images = sprites.draw(config.images, side=config.side, seed=config.seed).images
    test = sprites.draw(config.test_images, side=config.side, seed=config.seed + 1)
    columns = {
        "beta": "{beta:g}",
        "ELBO": "{elbo:.2f}",
        "E log p(x|z)": "{log_likelihood:.2f}",
        "KL": "{rate:.2f}",
        "active": f"{{active_units}} of {config.latent}",
        "MIG": "{mig:.3f}",
        "FactorVAE": "{factor_vae:.3f}",
        "training": "{train_seconds:.0f} s",
    }
    title = f"sprites of {config.side} x {config.side} pixels: nats per image; codes are means"
    return study.Study(
        variants=[variant(config, beta, images) for beta in config.beta],
        measure=functools.partial(evaluate, config, test),
        draw=lambda out, found: pictures.save_samples(out / "data.png", images[:50]),
        tables=[study.Table(title, columns)],
        note="MIG: 0 to 1; FactorVAE: accuracy, 0.2 by chance",
        units="nats per image; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("beta_vae", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
