"""PixelVAEs that ignore z, and the tools that cure them: python -m experiments.pixel_vae.

A decoder in which each pixel sees those before it needs z little, and training may leave z unused:
the KL term falls towards zero. By default the models train on scikit-learn's digits.

Source: Gulrajani et al. (2017), arXiv:1611.05013; Bowman et al. (2016), arXiv:1511.06349 (warm-up,
dropped inputs); Kingma et al. (2016), arXiv:1606.04934, section 4 (free bits); Chen et al. (2017),
arXiv:1611.02731 (what the decoder cannot see is left to z).
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments import study
from genmix import bijectors as bij
from genmix import evaluation, objectives
from genmix.data import Dataset
from genmix.densities import bernoulli
from genmix.evaluation import pictures
from genmix.families import (
    Autoregressive,
    Bernoulli,
    InputDropout,
    LatentVariableModel,
    Normal,
    StandardNormal,
    transformed,
)
from genmix.nets import MADE, MLP, GatedPixelCNN
from genmix.objectives import Rate
from genmix.runs import command_line
from genmix.training import Player

Tool = Literal["warm-up", "free-bits", "dropout", "reach"]
PixelVAE = Literal[
    "plain", "warm-up", "free-bits", "dropout", "reach", "dropout+reach", "all", "hierarchical"
]
Model = Literal["pixelcnn", "vae"] | PixelVAE
TOOLS: Mapping[Model, tuple[Tool, ...]] = MappingProxyType(
    {
        "pixelcnn": (),
        "vae": (),
        "plain": (),
        "warm-up": ("warm-up",),
        "free-bits": ("free-bits",),
        "dropout": ("dropout",),
        "reach": ("reach",),
        "dropout+reach": ("dropout", "reach"),
        "all": ("warm-up", "free-bits", "dropout", "reach"),
        "hierarchical": ("warm-up", "dropout", "reach"),
    }
)
TITLES: Mapping[Model, str] = MappingProxyType(
    {
        "pixelcnn": "PixelCNN, no z",
        "vae": "VAE, pixels independent given z",
        "plain": "PixelVAE",
        "warm-up": "  with KL warm-up",
        "free-bits": "  with free bits",
        "dropout": "  with dropped inputs",
        "reach": "  with a small reach",
        "dropout+reach": "  with dropped inputs, small reach",
        "all": "  with all four",
        "hierarchical": "  hierarchical, all but free bits",
    }
)
DRAWS = 9  # pictures drawn from one z


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.OnImages):
    """One row of the table for each model; those after plain are PixelVAEs with a tool or more."""

    model: study.Each[Model] = tuple(TOOLS)
    warm_up: study.Share = 0.5
    """Part of the steps over which the weight of the KL term rises from 0 to 1."""
    free_nats: study.NotNegative = 0.5
    """Nats that each dimension of z may cost without being pressed further."""
    dropout: study.Share = 0.5
    """Rate at which pixels are hidden from those after them, in training."""
    reach: study.Count = 1
    """Columns to either side, and one row more above, that a pixel sees with a small reach."""
    latent: study.Count = 10
    """Dimensions of z."""
    hidden: study.Count | None = None
    """Width of the fully connected layers; 20 for the digits, 300 for larger images."""
    width: study.Count = 24
    """Channels of the PixelCNN."""
    layers: study.Count = 5
    """Layers of the PixelCNN, the first 7x7 and the others 3x3 where the reach is not small."""
    steps: study.Count = 1000
    batch_size: study.Count = 50
    learning_rate: study.Positive = 2e-3
    """At the start; it falls to zero along a cosine."""
    particles: study.Count = 200
    """Particles of the NLL estimate."""


def build(config: Config, dataset: Dataset, name: Model) -> LatentVariableModel | Autoregressive:
    """The model of one row; "dropout" hides inputs in its likelihood."""
    shape, tools = dataset.train.shape[1:], TOOLS[name]
    hidden = config.hidden or study.by_size(shape, 20, 300)
    rngs, bits = nnx.Rngs(config.seed), bernoulli.Bernoulli()
    if name == "pixelcnn":
        return Autoregressive(pixelcnn(config, shape, tools, 0, rngs), bits, shape=shape)
    if name == "vae":
        likelihood: Any = Bernoulli(MLP(config.latent, (hidden, hidden), shape, rngs=rngs))
    else:
        likelihood = Autoregressive(
            pixelcnn(config, shape, tools, config.width, rngs),
            bits,
            shape=shape,
            encoder=MLP(config.latent, (hidden,), (*shape[:2], config.width), rngs=rngs),
        )
    if "dropout" in tools:
        likelihood = InputDropout(likelihood, config.dropout)
    prior: Any = StandardNormal(config.latent)
    if name == "hierarchical":
        prior = autoregressive_hierarchy(config.latent, hidden, rngs)
    posterior = Normal(MLP(shape, (hidden, hidden), config.latent, rngs=rngs))
    return LatentVariableModel(prior=prior, likelihood=likelihood, posterior=posterior)


def autoregressive_hierarchy(latent: int, hidden: int, rngs: nnx.Rngs) -> LatentVariableModel:
    """p(z) of a second layer: p(z | w), each entry given those before it, and w ~ N(0, I)."""
    inner = max(latent // 2, 1)
    width = max(hidden, latent)
    made = MADE(latent, (width,), 2, cond_size=hidden, activation=jnp.tanh, rngs=rngs)
    return LatentVariableModel(
        prior=StandardNormal(inner),
        likelihood=transformed(
            StandardNormal(latent),
            bij.masked_autoregressive(made, bij.ShiftScale()),
            encoder=MLP(inner, (hidden,), hidden, rngs=rngs),
        ),
        posterior=Normal(MLP(latent, (hidden, hidden), inner, rngs=rngs)),
    )


def pixelcnn(
    config: Config, shape: tuple[int, ...], tools: tuple[Tool, ...], cond_size: int, rngs: nnx.Rngs
) -> GatedPixelCNN:
    first, rest = (2 * config.reach + 1, 1) if "reach" in tools else (7, 3)
    return GatedPixelCNN(
        shape[:2], config.width, config.layers, kernel_size=rest, first_kernel_size=first,
        cond_size=cond_size, rngs=rngs,
    )  # fmt: skip


def without_dropout(model: Any) -> Any:
    """The model as it is evaluated, every pixel seeing all of its inputs."""
    if not isinstance(model, LatentVariableModel) or not isinstance(model.likelihood, InputDropout):
        return model
    return LatentVariableModel(
        prior=model.prior, likelihood=model.likelihood.density, posterior=model.posterior
    )


def variant(config: Config, dataset: Dataset, name: Model) -> study.Variant:
    tools = TOOLS[name]
    beta, warm_up = 1.0, round(config.warm_up * config.steps)
    if "warm-up" in tools and warm_up:
        beta = optax.linear_schedule(0.0, 1.0, warm_up)
    free_nats = config.free_nats if "free-bits" in tools else 0.0
    rate = None
    if name != "pixelcnn":
        rate = Rate(beta=beta, free_nats=free_nats, analytic=name != "hierarchical")
    return study.Variant(
        name=TITLES[name].strip(),
        folder=name,
        row={"model": TITLES[name].strip()},
        build=lambda: build(config, dataset, name),
        players=[Player(loss=objectives.elbo(rate=rate), optimizer=optax.adam(config.falling()))],
        data=dataset.train,
        plan=config.plan(transform=dataset.transform),
    )


def evaluate(config: Config, dataset: Dataset, model: Any) -> dict[str, Any]:
    """Figures on the test images, in nats an image where they have a unit."""
    nll_key, elbo_key, unit_key = jax.random.split(config.key, 3)
    x, rows = dataset.test, max(640_000 // math.prod(dataset.test.shape[1:]), 1)
    has_z = isinstance(model, LatentVariableModel)
    particles = config.particles if has_z else 1
    values: dict[str, Any] = study.nll(nll_key, model, x, particles, rows_per_chunk=rows)
    if has_z:
        bound = evaluation.elbo(elbo_key, model, x, num_samples=50, rows_per_chunk=rows)
        units, *_ = evaluation.active_units(unit_key, model, x)  # of the layer next to x
        values |= {"elbo": bound.elbo, "rate": bound.rate, "active_units": int(np.sum(units))}
    return values


def draw(config: Config, dataset: Dataset, model: Any, out: Path) -> None:
    """Samples; and rows of a test image followed by draws of x given one z of that image."""
    sample_key, encode_key = jax.random.split(config.key)
    samples = jax.jit(jax.vmap(model.sample))(jax.random.split(sample_key, 100))
    pictures.save_samples(out / "samples.png", samples)
    if not isinstance(model, LatentVariableModel):
        return

    def row(key: jax.Array, x: jax.Array) -> jax.Array:
        z_key, x_key = jax.random.split(key)
        z = model.encode(z_key, x)
        draws = jax.vmap(lambda key: model.likelihood.sample(key, z))
        return jnp.concatenate([x[None], draws(jax.random.split(x_key, DRAWS))])

    x = jnp.asarray(dataset.test[:10])
    rows = jax.jit(jax.vmap(row))(jax.random.split(encode_key, len(x)), x)
    images = rows.reshape(-1, *x.shape[1:])
    pictures.save_samples(out / "draws_given_z.png", images, columns=DRAWS + 1)


def draw_rates(out: Path, found: Sequence[study.Result]) -> None:
    rates = {it.name: it.history["rate"] for it in found if "rate" in it.history}
    if rates:
        pictures.save_curves(
            out / "rates.png", rates, x_label="step", y_label="KL(q(z | x) || p(z)) (nats)"
        )


def experiment(config: Config) -> study.Study:
    dataset = config.load()
    if dataset.num_levels != 2:
        raise ValueError(
            f"{dataset.name} has {dataset.num_levels} grey levels, and this experiment is about "
            "bits: use another --dataset, or experiments.mix --decoder pixelcnn."
        )
    titles: dict[str, str] = {title.strip(): title for title in TITLES.values()}
    columns: dict[str, study.Column] = {
        "model": lambda row: titles.get(str(row["model"]), str(row["model"])),
        **study.NLL,
    }
    if config.model != ("pixelcnn",):
        units = f"{{active_units}} of {config.latent}"
        columns |= {"ELBO": "{elbo:.2f}", "KL": "{rate:.2f}", "active units": units}
    title = f"{dataset.name}: nats per image, NLL with {config.particles} particles"
    return study.Study(
        before=[evaluation.baselines.independent_pixels(dataset)],
        variants=[variant(config, dataset, name) for name in config.model],
        measure=lambda it: evaluate(config, dataset, without_dropout(it.model)),
        draw_each=lambda it: draw(config, dataset, without_dropout(it.model), it.directory),
        draw=draw_rates,
        tables=[study.Table(title, columns | {"training": "{train_seconds:.1f} s"})],
        facts={"dataset": dataset.name, "nll_particles": config.particles},
        units="nats per image; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("pixel_vae", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
