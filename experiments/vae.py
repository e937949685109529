"""Variational autoencoders with pictures of their latent space: python -m experiments.vae.

Defaults train on scikit-learn's digits in about a minute on two CPU cores; `--latent 2` adds the
two-dimensional manifold of Kingma & Welling (2014), appendix A, and a map of the posterior means.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments import study
from genmix import data, evaluation, objectives
from genmix.data import Dataset
from genmix.evaluation import latent_pictures, pictures
from genmix.families import (
    Bernoulli,
    DiscretizedLogistic,
    LatentVariableModel,
    Normal,
    StandardNormal,
)
from genmix.nets import MLP, ConvDecoder, ConvEncoder, Rescale
from genmix.objectives import Rate
from genmix.runs import command_line
from genmix.training import Player, Validation

CHANNELS = (32, 64)  # of the convolutional networks, from the image on


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.OnImages):
    """The decoder says what a pixel is: a bit, a real number, or one of the grey levels."""

    network: Literal["mlp", "conv"] = "mlp"
    """Two hidden layers, or two convolutions of stride 2 and their transposes."""
    decoder: Literal["bernoulli", "normal", "discretized-logistic"] = "bernoulli"
    """bernoulli takes binarized images; normal, grey levels with uniform noise added to them,
    brought to [0, 1]; discretized-logistic, the levels themselves."""
    latent: study.Count = 10
    """Dimensions of z."""
    hidden: study.Count | None = None
    """Width of the hidden layers of mlp; 100 for the digits, 400 for larger images."""
    rate_beta: study.NotNegative = 1.0
    """Weight of the rate, the KL term, in training."""
    rate_warm_up: study.NotNegativeCount = 0
    """Steps over which the weight rises from 0."""
    rate_free_nats: study.NotNegative = 0.0
    """Nats that each dimension of z may cost without being pressed further."""
    rate_analytic: bool = True
    """KL in closed form; if not, from the sampled z."""
    steps: study.Count = 10_000
    batch_size: study.Count = 50
    learning_rate: study.Positive = 2e-3
    """At the start; it falls to zero along a cosine."""
    particles: study.Count = 5000
    """Particles of the NLL estimate."""
    patience: study.Count | None = None
    """Stop after this many tenths of the run without a better validation bound."""


def load(config: Config) -> Dataset:
    """Bits for a Bernoulli decoder, grey levels for the others."""
    if config.decoder == "bernoulli":
        dataset = config.load()
        if dataset.num_levels != 2:
            raise ValueError(
                f"{dataset.name} has {dataset.num_levels} grey levels, and a bernoulli decoder "
                "gives bits: use --decoder normal or discretized-logistic."
            )
        return dataset
    if config.dataset in data.NAMES and config.dataset not in data.LEVELS:
        raise ValueError(
            f"{config.dataset} has bits and no grey levels, which a {config.decoder} decoder is "
            f"for: use --decoder bernoulli, or one of {', '.join(data.LEVELS)}."
        )
    return config.load("levels")


def transform(config: Config, dataset: Dataset) -> Callable[..., jax.Array] | None:
    """What is done to each batch: bits drawn anew, or levels made real numbers in [0, 1].

    Without the noise a density of levels is unbounded: a pixel that never changes gets any value.
    Source: Theis, van den Oord & Bethge (2016), arXiv:1511.01844, section 3.1.
    """
    if config.decoder == "normal":
        return lambda key, x: (x + jax.random.uniform(key, x.shape)) / dataset.num_levels
    return dataset.transform


def as_seen(config: Config, dataset: Dataset, images: np.ndarray) -> jax.Array:
    """Held-out images as the decoder has them; noise, where there is any, is drawn once."""
    x = jnp.asarray(images)
    dequantize = transform(config, dataset)
    if config.decoder != "normal" or dequantize is None:
        return x
    return dequantize(jax.random.key(0), x)


def build(config: Config, dataset: Dataset) -> LatentVariableModel:
    shape, latent = dataset.train.shape[1:], config.latent
    rngs = nnx.Rngs(config.seed)
    if config.network == "conv":
        encoder = ConvEncoder(shape, CHANNELS, latent, rngs=rngs)
        decoder = ConvDecoder(latent, CHANNELS[::-1], shape, rngs=rngs)
    else:
        hidden = config.hidden or study.by_size(shape, 100, 400)
        encoder = MLP(shape, (hidden, hidden), latent, rngs=rngs)
        decoder = MLP(latent, (hidden, hidden), shape, rngs=rngs)
    if config.decoder == "bernoulli":
        likelihood = Bernoulli(decoder)
    elif config.decoder == "normal":
        encoder = Rescale(encoder, loc=0.5, scale=0.5)
        likelihood = Normal(decoder)
    else:
        middle = (dataset.num_levels - 1) / 2
        encoder = Rescale(encoder, loc=middle, scale=middle)
        likelihood = DiscretizedLogistic(decoder, num_levels=dataset.num_levels)
    return LatentVariableModel(
        prior=StandardNormal(latent), likelihood=likelihood, posterior=Normal(encoder)
    )


def player(config: Config) -> Player:
    beta = config.rate_beta
    if config.rate_warm_up:
        beta = optax.linear_schedule(0.0, config.rate_beta, config.rate_warm_up)
    rate = Rate(beta=beta, free_nats=config.rate_free_nats, analytic=config.rate_analytic)
    return Player(loss=objectives.elbo(rate=rate), optimizer=optax.adam(config.falling()))


@jax.jit
def reconstruction(key: jax.Array, model: LatentVariableModel, x: jax.Array) -> jax.Array:
    """E_q[log p(x | z)] in nats, mean over the images, from 100 draws of z each."""

    def one(key, x):
        keys = jax.random.split(key, 100)
        terms = jax.vmap(lambda key: model.log_weight_terms(key, x))(keys)
        return jnp.mean(terms.log_likelihood)

    keys = jax.random.split(key, len(x))
    return jnp.mean(jax.lax.map(lambda pair: one(*pair), (keys, x), batch_size=100))


def bits_per_dim(config: Config, dataset: Dataset, nll: float) -> float | None:
    """Of grey levels; for densities an upper bound, since the noise need not be the best."""
    dims = math.prod(dataset.test.shape[1:])
    if config.decoder == "normal":
        return evaluation.bits_per_dim_unit_interval(-nll, dims, dataset.num_levels)
    return None if dataset.num_levels == 2 else evaluation.bits_per_dim(-nll, dims)


def independent_pixels(config: Config, dataset: Dataset) -> float:
    """NLL of the model of independent pixels, of the same kind of x, in nats."""
    # A level's probability is spread evenly over an interval of length 1 / num_levels.
    height = math.log(dataset.num_levels) if config.decoder == "normal" else 0.0
    dims = math.prod(dataset.test.shape[1:])
    return evaluation.baselines.independent_pixels(dataset)["nll"] - dims * height


def evaluate(
    config: Config, dataset: Dataset, model: LatentVariableModel, x: jax.Array
) -> dict[str, Any]:
    """Figures on the test images, in nats an image where they have a unit."""
    nll_key, unit_key, draw_key = jax.random.split(config.key, 3)
    nll = study.nll(nll_key, model, x, config.particles)
    log_px_given_z = float(reconstruction(draw_key, model, x))
    rates = evaluation.rates(model, x)
    baseline = independent_pixels(config, dataset)
    return {
        "elbo": log_px_given_z - float(np.sum(rates)),
        "reconstruction": log_px_given_z,
        "rate": float(np.sum(rates)),
        "rate_by_dimension": [float(r) for r in rates],
        **nll,
        "bits_per_dim": bits_per_dim(config, dataset, nll["nll"]),
        "active_units": int(np.sum(evaluation.active_units(unit_key, model, x)[0])),
        "independent_pixels_nll": baseline,
        "independent_pixels_bits_per_dim": bits_per_dim(config, dataset, baseline),
    }


def draw(config: Config, dataset: Dataset, x: jax.Array, result: study.Result) -> None:
    """Pictures of means of x given z."""
    model, out = result.model, result.out
    top = dataset.num_levels - 1 if config.decoder == "discretized-logistic" else 1
    decode = jax.jit(lambda z: jax.lax.map(model.decode, z, batch_size=50) / top)
    means = jax.jit(jax.vmap(model.posterior.mean))(x)
    z = jax.vmap(model.prior.sample)(jax.random.split(config.key, 100))
    pictures.save_samples(out / "samples.png", decode(z))
    pictures.save_reconstructions(out / "reconstructions.png", x[:50] / top, decode(means[:50]))
    latent_pictures.save_interpolations(out / "interpolations.png", decode, x / top, means)
    costly = np.argsort(-evaluation.rates(model, x))[:10]  # those that cost most first
    latent_pictures.save_traversal(out / "traversal.png", decode, means[0], costly)
    study.save_curves(out, [result], "elbo", "training ELBO (nats)")
    if config.latent == 2:
        latent_pictures.save_manifold(out / "manifold.png", decode)
        path, labels = out / "posterior_means.png", dataset.test_labels
        pictures.save_scatter(path, means, labels, x_label="$z_1$", y_label="$z_2$")


def quantities(config: Config, dataset: Dataset, rows: Sequence[study.Row]) -> list[dict[str, str]]:
    """The one row as a column."""
    values, unit, bits = rows[0], "nats per image", "bits per pixel"
    if config.decoder == "normal":
        unit = f"nats, density on [0, 1]^{math.prod(dataset.test.shape[1:])}"
    lines = [
        ("ELBO", "{elbo:.2f}", unit),
        ("  E log p(x | z)", "{reconstruction:.2f}", unit),
        ("  rate KL(q(z | x) || p(z))", "{rate:.2f}", "nats per image"),
        (f"NLL, {config.particles} particles", "{nll:.2f} ± {nll_standard_error:.2f}", unit),
        ("  of independent pixels", "{independent_pixels_nll:.2f}", unit),
    ]
    if values["bits_per_dim"] is not None:
        at_most = ", at most" if config.decoder == "normal" else ""
        lines.append(("bits/dim", "{bits_per_dim:.3f}", bits + at_most))
        lines.append(("  of independent pixels", "{independent_pixels_bits_per_dim:.3f}", bits))
    lines.append(("active units", f"{{active_units}} of {config.latent}", "dimensions of z"))
    lines.append(("training", "{train_seconds:.1f}", "seconds"))
    return [
        {"quantity": name, "value": form.format_map(values), "unit": of} for name, form, of in lines
    ]


def validation(config: Config, dataset: Dataset) -> Validation | None:
    """The ELBO on the validation images, its rate weighed as in training, where the set has some.

    Without it a set as small as Frey's faces is learned by heart: the model that is kept is the
    best by this score.
    """
    if not len(dataset.valid):
        return None
    x = as_seen(config, dataset, dataset.valid)

    def score(model: LatentVariableModel) -> float:
        bound = evaluation.elbo(config.key, model, x, num_samples=1)
        return float(np.mean(bound.log_likelihood)) - config.rate_beta * bound.rate

    return Validation(score, 5 * max(config.steps // 50, 1), config.patience)


def experiment(config: Config) -> study.Study:
    dataset = load(config)
    data.require(dataset, batch_size=1, patience=config.patience)  # the study looks at batches
    x = as_seen(config, dataset, dataset.test)
    variant = study.Variant(
        name=f"VAE ({config.network}, {config.decoder})",
        folder="",
        row={"model": "VAE"},
        build=lambda: build(config, dataset),
        players=[player(config)],
        data=dataset.train,
        plan=config.plan(
            transform=transform(config, dataset), validation=validation(config, dataset)
        ),
    )
    title = f"{dataset.name}, {len(dataset.test)} test images: {config.network} VAE"
    density = " of a density of x in [0, 1]" if config.decoder == "normal" else ""
    return study.Study(
        variants=[variant],
        measure=lambda result: evaluate(config, dataset, result.model, x),
        draw_each=lambda result: draw(config, dataset, x, result),
        tables=[
            study.Table(
                title,
                {"quantity": "{quantity}", "value": "{value}", "unit": "{unit}"},
                lambda rows: quantities(config, dataset, rows),
            )
        ],
        facts={"dataset": dataset.name, "nll_particles": config.particles},
        units=f"nats per image{density}; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("vae", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
