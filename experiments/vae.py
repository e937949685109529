"""Variational autoencoders with pictures of their latent space: python -m experiments.vae.

Defaults train on scikit-learn's digits in about a minute on two CPU cores; `--latent 2` adds the
two-dimensional manifold of Kingma & Welling (2014), appendix A, and a map of the posterior means.
"""

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from flax import nnx
from rich.console import Console
from rich.table import Table

from genmix import data, evaluation, objectives
from genmix.data import Dataset, grey
from genmix.evaluation import pictures
from genmix.families import (
    Bernoulli,
    DiscretizedLogistic,
    FactorizedNormal,
    LatentVariableModel,
    StandardNormal,
)
from genmix.nets import MLP, ConvDecoder, ConvEncoder, Rescale
from genmix.objectives import Rate
from genmix.runs import command_line, run_directory
from genmix.training import Fit, Plan, Player, fit

CHANNELS = (32, 64)  # of the convolutional networks, from the image on
STEPS_BETWEEN = 9  # pictures between the two ends of an interpolation
MOST_ROWS = 10  # dimensions that a traversal shows


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The decoder says what a pixel is: a bit, a real number, or one of the grey levels."""

    dataset: Annotated[str, tyro.conf.arg(metavar="{" + ",".join(data.NAMES) + ",tfds:NAME}")] = (
        "digits"
    )
    """tfds:NAME is a set of TensorFlow Datasets, prepared beforehand (docs/data.md)."""
    data_dir: Path | None = None
    """Folder that holds mnist/, binarized_mnist/, ...; the digits need none."""
    network: Literal["mlp", "conv"] = "mlp"
    """Two hidden layers, or two convolutions of stride 2 and their transposes."""
    decoder: Literal["bernoulli", "normal", "discretized-logistic"] = "bernoulli"
    """bernoulli takes binarized images; normal, grey levels with uniform noise added to them,
    brought to [0, 1]; discretized-logistic, the levels themselves."""
    latent: int = 10
    """Dimensions of z."""
    hidden: int | None = None
    """Width of the hidden layers of mlp; 100 for the digits, 400 for larger images."""
    rate_beta: float = 1.0
    """Weight of the rate, the KL term, in training."""
    rate_warm_up: int = 0
    """Steps over which the weight rises from 0."""
    rate_free_nats: float = 0.0
    """Nats that each dimension of z may cost without being pressed further."""
    rate_analytic: bool = True
    """KL in closed form; if not, from the sampled z."""
    steps: int = 10_000
    batch_size: int = 50
    learning_rate: float = 2e-3
    """At the start; it falls to zero along a cosine."""
    particles: int = 5000
    """Particles of the NLL estimate."""
    seed: int = 0
    out: Path | None = None
    """Directory of the run; runs/vae/TIME if not given."""
    resume: bool = False
    """Go on with the run in --out, bit for bit."""
    debug: bool = False
    """If a number is not finite, name the operation that made it so; it may go with --resume."""

    def __post_init__(self):
        counts = ("latent", "steps", "batch_size", "particles", "hidden")
        command_line.require(self, counts=counts, positive=("learning_rate",))
        for name in ("rate_beta", "rate_warm_up", "rate_free_nats"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}.")


def load(config: Config) -> Dataset:
    """Bits for a Bernoulli decoder, grey levels for the others."""
    if config.decoder == "bernoulli":
        dataset = data.load(config.dataset, config.data_dir)
        if dataset.num_levels != 2:
            raise ValueError(
                f"{dataset.name} has {dataset.num_levels} grey levels, and a bernoulli decoder "
                "gives bits: use --decoder normal or discretized-logistic."
            )
        return dataset
    if config.dataset in data.NAMES and config.dataset not in grey.NAMES:
        raise ValueError(
            f"{config.dataset} has bits and no grey levels, which a {config.decoder} decoder is "
            f"for: use --decoder bernoulli, or one of {', '.join(grey.NAMES)}."
        )
    return grey.load_grey(config.dataset, config.data_dir)


def transform(config: Config, dataset: Dataset) -> Callable[..., jax.Array] | None:
    """What is done to each batch: bits drawn anew, or levels made real numbers in [0, 1].

    Without the noise a density of levels is unbounded: a pixel that never changes gets any value.
    Source: Theis, van den Oord & Bethge (2016), arXiv:1511.01844, section 3.1.
    """
    if config.decoder == "normal":
        return lambda key, x: (x + jax.random.uniform(key, x.shape)) / dataset.num_levels
    return data.binarize if dataset.binarization == "dynamic" else None


def test_images(config: Config, dataset: Dataset) -> jax.Array:
    """The test images as the decoder has them; noise, where there is any, is drawn once."""
    x = jnp.asarray(dataset.test)
    dequantize = transform(config, dataset)
    if config.decoder != "normal" or dequantize is None:
        return x
    return dequantize(jax.random.key(0), x)


def build(config: Config, dataset: Dataset) -> LatentVariableModel:
    shape, latent = dataset.train.shape[1:], config.latent
    out_shape = shape if config.decoder == "bernoulli" else (*shape[:-1], 2 * shape[-1])
    rngs = nnx.Rngs(config.seed)
    if config.network == "conv":
        encoder = ConvEncoder(shape, CHANNELS, 2 * latent, rngs=rngs)
        decoder = ConvDecoder(latent, CHANNELS[::-1], out_shape, rngs=rngs)
    else:
        hidden = config.hidden or (100 if math.prod(shape) < 500 else 400)
        encoder = MLP(shape, (hidden, hidden), 2 * latent, rngs=rngs)
        decoder = MLP(latent, (hidden, hidden), out_shape, rngs=rngs)
    if config.decoder == "bernoulli":
        likelihood = Bernoulli(decoder)
    elif config.decoder == "normal":
        encoder = Rescale(encoder, loc=0.5, scale=0.5)
        likelihood = FactorizedNormal(decoder)
    else:
        middle = (dataset.num_levels - 1) / 2
        encoder = Rescale(encoder, loc=middle, scale=middle)
        likelihood = DiscretizedLogistic(decoder, num_levels=dataset.num_levels)
    return LatentVariableModel(
        prior=StandardNormal(latent), likelihood=likelihood, posterior=FactorizedNormal(encoder)
    )


def train(config: Config, dataset: Dataset, directory: Path) -> Fit:
    beta = config.rate_beta
    if config.rate_warm_up:
        beta = optax.linear_schedule(0.0, config.rate_beta, config.rate_warm_up)
    rate = Rate(beta=beta, free_nats=config.rate_free_nats, analytic=config.rate_analytic)
    learning_rate = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    player = Player(loss=objectives.elbo(rate=rate), optimizer=optax.adam(learning_rate))
    plan = Plan(
        num_rounds=config.steps,
        batch_size=config.batch_size,
        transform=transform(config, dataset),
        rounds_per_call=max(config.steps // 50, 1),
        directory=directory,
        resume=config.resume,
        debug=config.debug,
        label=f"VAE ({config.network}, {config.decoder})",
    )
    return fit(jax.random.key(config.seed), build(config, dataset), [player], dataset.train, plan)


@jax.jit
def reconstruction(key: jax.Array, model: LatentVariableModel, x: jax.Array) -> jax.Array:
    """E_q[log p(x | z)] in nats, mean over the images, from 100 draws of z each."""

    def one(key, x):
        keys = jax.random.split(key, 100)
        terms = jax.vmap(lambda key: model.log_weight_terms(key, x))(keys)
        return jnp.mean(terms.log_likelihood)

    keys = jax.random.split(key, len(x))
    return jnp.mean(jax.lax.map(lambda pair: one(*pair), (keys, x), batch_size=100))


def independent_pixels(config: Config, dataset: Dataset) -> float:
    """NLL of the model of independent pixels, of the same kind of x, in nats."""
    train, test = dataset.train, dataset.test
    if dataset.num_levels == 2:
        return float(-np.mean(evaluation.baselines.independent_bernoulli(train, test)))
    levels = dataset.num_levels
    log_px = evaluation.baselines.independent_histogram(train, test, num_levels=levels)
    # A level's probability is spread evenly over an interval of length 1 / num_levels.
    height = math.log(levels) if config.decoder == "normal" else 0.0
    return float(-np.mean(log_px)) - math.prod(test.shape[1:]) * height


def bits_per_dim(config: Config, dataset: Dataset, nll: float) -> float | None:
    """Of grey levels; for densities an upper bound, since the noise need not be the best."""
    dims = math.prod(dataset.test.shape[1:])
    if config.decoder == "normal":
        return evaluation.bits_per_dim_unit_interval(-nll, dims, dataset.num_levels)
    return None if dataset.num_levels == 2 else evaluation.bits_per_dim(-nll, dims)


def evaluate(
    config: Config, dataset: Dataset, model: LatentVariableModel, x: jax.Array
) -> dict[str, Any]:
    """Figures on the test images, in nats an image where they have a unit."""
    nll_key, unit_key, draw_key = jax.random.split(jax.random.key(config.seed), 3)
    likelihood = evaluation.log_likelihood(nll_key, model, x, num_particles=config.particles)
    log_px_given_z = float(reconstruction(draw_key, model, x))
    rates = evaluation.rates(model, x)
    baseline = independent_pixels(config, dataset)
    return {
        "elbo": log_px_given_z - float(np.sum(rates)),
        "reconstruction": log_px_given_z,
        "rate": float(np.sum(rates)),
        "rate_by_dimension": [float(r) for r in rates],
        "nll": likelihood.nll,
        "nll_standard_error": likelihood.standard_error,
        "bits_per_dim": bits_per_dim(config, dataset, likelihood.nll),
        "active_units": int(np.sum(evaluation.active_units(unit_key, model, x)[0])),
        "independent_pixels_nll": baseline,
        "independent_pixels_bits_per_dim": bits_per_dim(config, dataset, baseline),
    }


def draw(
    config: Config, dataset: Dataset, model: LatentVariableModel, x: jax.Array, out: Path
) -> list[str]:
    """Pictures of means of x given z; the names of their files."""
    top = dataset.num_levels - 1 if config.decoder == "discretized-logistic" else 1
    decode = jax.jit(lambda z: jax.lax.map(model.decode, z, batch_size=50) / top)
    means = jax.jit(jax.vmap(model.posterior.mean))(x)
    z = jax.vmap(model.prior.sample)(jax.random.split(jax.random.key(config.seed), 100))
    pictures.save_samples(out / "samples.png", decode(z))
    pictures.save_reconstructions(out / "reconstructions.png", x[:50] / top, decode(means[:50]))
    draw_interpolations(out / "interpolations.png", decode, x / top, means)
    draw_traversal(out / "traversal.png", decode, means[0], evaluation.rates(model, x))
    names = ["samples.png", "reconstructions.png", "interpolations.png", "traversal.png"]
    if config.latent == 2:
        draw_manifold(out / "manifold.png", decode)
        pictures.save_scatter(
            out / "posterior_means.png",
            means,
            dataset.test_labels,
            x_label="$z_1$",
            y_label="$z_2$",
        )
        names += ["manifold.png", "posterior_means.png"]
    return names


Decode = Callable[[jax.Array], jax.Array]


def draw_interpolations(path: Path, decode: Decode, x: jax.Array, means: jax.Array) -> None:
    """A row for each pair of images: the first, means along the line between their z, the last."""
    pairs = min(len(x) // 2, 10)
    first, last = means[:pairs, None], means[pairs : 2 * pairs, None]
    weight = jnp.linspace(0, 1, STEPS_BETWEEN)[None, :, None]
    line = (1 - weight) * first + weight * last
    between = decode(line.reshape(-1, line.shape[-1]))
    between = between.reshape(pairs, STEPS_BETWEEN, *x.shape[1:])
    rows = jnp.concatenate([x[:pairs, None], between, x[pairs : 2 * pairs, None]], axis=1)
    pictures.save_samples(path, rows.reshape(-1, *x.shape[1:]), columns=STEPS_BETWEEN + 2)


def draw_traversal(path: Path, decode: Decode, mean: jax.Array, rates: np.ndarray) -> None:
    """A row for each dimension of z, those that cost most first: it goes from -2.5 to 2.5.

    The other dimensions stay at the posterior mean of the first test image.
    """
    order = np.argsort(-rates)[:MOST_ROWS]
    values = jnp.linspace(-2.5, 2.5, STEPS_BETWEEN + 2)
    row = lambda i: jax.vmap(lambda value: mean.at[i].set(value))(values)
    images = decode(jnp.concatenate([row(i) for i in order]))
    pictures.save_samples(path, images, columns=len(values))


def draw_manifold(path: Path, decode: Decode, size: int = 20) -> None:
    """Means over a grid of z whose coordinates are quantiles of the prior, z_2 upwards."""
    quantiles = jax.scipy.stats.norm.ppf((jnp.arange(size) + 0.5) / size)
    z1, z2 = jnp.meshgrid(quantiles, quantiles[::-1])
    images = decode(jnp.stack([z1.reshape(-1), z2.reshape(-1)], axis=1))
    pictures.save_samples(path, images, columns=size)


def print_table(config: Config, dataset: Dataset, values: dict[str, Any]) -> None:
    unit = "nats per image"
    if config.decoder == "normal":
        unit = f"nats, density on [0, 1]^{math.prod(dataset.test.shape[1:])}"
    table = Table(title=f"{dataset.name}, {len(dataset.test)} test images: {config.network} VAE")
    table.add_column("quantity")
    table.add_column("value", justify="right")
    table.add_column("unit")
    error = f"{values['nll']:.2f} ± {values['nll_standard_error']:.2f}"
    for name, value in (
        ("ELBO", f"{values['elbo']:.2f}"),
        ("  E log p(x | z)", f"{values['reconstruction']:.2f}"),
        ("  rate KL(q(z | x) || p(z))", f"{values['rate']:.2f}"),
        (f"NLL, {config.particles} particles", error),
        ("  of independent pixels", f"{values['independent_pixels_nll']:.2f}"),
    ):
        table.add_row(name, value, "nats per image" if "rate" in name else unit)
    if values["bits_per_dim"] is not None:
        bound = "bits per pixel" + (", at most" if config.decoder == "normal" else "")
        table.add_row("bits/dim", f"{values['bits_per_dim']:.3f}", bound)
        bits = values["independent_pixels_bits_per_dim"]
        table.add_row("  of independent pixels", f"{bits:.3f}", "bits per pixel")
    table.add_row("active units", f"{values['active_units']} of {config.latent}", "dimensions of z")
    table.add_row("training", f"{values['train_seconds']:.1f}", "seconds")
    Console().print(table)


def main(config: Config) -> dict[str, Any]:
    start = time.perf_counter()
    dataset = load(config)
    data.require(dataset, batch_size=config.batch_size)
    out = run_directory.begin("vae", config)
    trained = train(config, dataset, out)
    x = test_images(config, dataset)
    values = evaluate(config, dataset, trained.model, x) | {"train_seconds": trained.seconds}
    names = draw(config, dataset, trained.model, x, out)
    curve = {"ELBO": trained.history["elbo"]}
    pictures.save_curves(out / "curves.png", curve, x_label="step", y_label="training ELBO (nats)")
    print_table(config, dataset, values)
    density = " of a density of x in [0, 1]" if config.decoder == "normal" else ""
    run_directory.write_results(
        out,
        start,
        units=f"nats per image{density}; seconds",
        dataset=dataset.name,
        nll_particles=config.particles,
        seed=config.seed,
        values=values,
    )
    command_line.print_paths(out, *names, "curves.png")
    return values


if __name__ == "__main__":
    command_line.run(main, Config)
