"""Hierarchies of latents, plain and top-down, layer by layer: python -m experiments.hierarchies.

A plain hierarchy's posterior goes up only, and its upper layers tend to be unused. A ladder merges
what x says with what the layer above says by their precisions; IAF's hierarchy adds means and
log-scales; BIVA draws a second latent of each layer on the way up; the very deep VAE carries a
residual stream. All have the same latents, widths and training. Defaults train on scikit-learn's
digits in minutes on two CPU cores.

Source: Sønderby et al. (2016), arXiv:1602.02282; Kingma et al. (2016), arXiv:1606.04934; Maaløe et
al. (2019), arXiv:1902.02102; Child (2021), arXiv:2011.10650.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments import study
from experiments.flow_vaes import comparison
from genmix.data import Dataset
from genmix.evaluation import pictures
from genmix.families import (
    Bernoulli,
    LatentVariableModel,
    Level,
    MergedNormal,
    Normal,
    StandardNormal,
    TopDown,
    Upward,
)
from genmix.families.posteriors.merged_normal import precision_weighted, summed
from genmix.nets import MLP, Joined
from genmix.runs import command_line

Model = Literal["plain", "ladder", "iaf-top-down", "biva", "very-deep"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(comparison.Settings):
    """One model of each kind, from the same seed."""

    model: study.Each[Model] = ("plain", "ladder", "iaf-top-down", "biva", "very-deep")
    latents: tuple[study.Count, ...] = (16, 8, 4)
    """Dimensions of each layer, the one next to x first."""
    hidden: study.Count = 100
    """Width of all hidden layers."""
    learning_rate: study.Positive = 1e-3

    def __post_init__(self):
        super().__post_init__()
        if not self.latents:
            raise ValueError("latents must name the dimensions of at least one layer, got none.")


class Residual(nnx.Module):
    """(h, latent) -> h + network of both; the highest level has no h to add to."""

    def __init__(self, network: MLP):
        self.network = Joined(network)

    def __call__(self, pair: tuple[Any, Any]) -> jax.Array:
        h, change = pair[0], self.network(pair)
        return change if h is None else h + change


def plain(config: Config, shape: tuple[int, ...], rngs: nnx.Rngs) -> LatentVariableModel:
    """Each layer is a VAE of the one below, which is its data."""
    mlp = lambda a, b: MLP(a, (config.hidden, config.hidden), b, rngs=rngs)
    prior: Any = StandardNormal(config.latents[-1])
    sizes = [shape, *config.latents]
    for below, latent in reversed(list(itertools.pairwise(sizes))):
        kind = Bernoulli if below is shape else Normal
        posterior = Normal(mlp(below, latent))
        likelihood = kind(mlp(latent, below))
        prior = LatentVariableModel(prior=prior, likelihood=likelihood, posterior=posterior)
    return prior


def top_down(config: Config, name: str, shape: tuple[int, ...], rngs: nnx.Rngs) -> TopDown:
    """What a level stands under is z above, z and y, or a residual stream."""
    width, levels = config.hidden, []
    mlp = lambda a, b: MLP(a, (width,), b, rngs=rngs)
    linear = lambda a, b: MLP(a, (), b, rngs=rngs)
    is_deep, is_biva = name == "very-deep", name == "biva"
    dims = [width if is_deep else (1 + is_biva) * latent for latent in config.latents]
    nothing = lambda size: None
    below = {
        "ladder": nothing,
        "iaf-top-down": nothing,
        "biva": lambda size: Flat(),
        "very-deep": lambda size: Residual(mlp(size, width)),
    }
    for i, latent in enumerate(config.latents):
        above = dims[i + 1] if i + 1 < len(dims) else 0
        prior = lambda latent=latent, above=above: (
            Normal(mlp(above, latent)) if above else StandardNormal(latent)
        )
        posterior: Any = Normal(Joined(mlp(width + above, latent)))
        if above and name in ("ladder", "iaf-top-down"):
            merge = precision_weighted if name == "ladder" else summed
            posterior = MergedNormal(Normal(linear(width, latent)), merge)
        upward = lambda latent=latent, prior=prior: Upward(
            prior=prior(),
            posterior=Normal(linear(width, latent)),
            joins=Joined(mlp(width + latent, width)),
        )
        levels.append(
            Level(
                prior=prior(),
                posterior=posterior,
                up=MLP(width if i else shape, (width,), width, rngs=rngs),
                below=below[name](above + latent),
                upward=upward() if is_biva else None,
            )
        )
    decoder = MLP(dims[0], (width, width), shape, rngs=rngs)
    return TopDown(levels, likelihood=Bernoulli(decoder))


class Flat(nnx.Module):
    """(h, (z, y)) -> z and y as one vector."""

    def __call__(self, pair: tuple[Any, Any]) -> jax.Array:
        return jnp.concatenate(pair[1])


def build(config: Config, dataset: Dataset, name: str) -> LatentVariableModel | TopDown:
    rngs, shape = nnx.Rngs(config.seed), dataset.train.shape[1:]
    return plain(config, shape, rngs) if name == "plain" else top_down(config, name, shape, rngs)


def draw(config: Config, out: Path, found: Sequence[study.Result]) -> None:
    """A row of draws for each model."""
    keys = lambda: jax.random.split(config.key, 12)
    sample = lambda model: np.asarray(jax.jit(jax.vmap(model.sample))(keys()), float)
    pictures.save_sheet(out / "samples.png", {it.name: sample(it.model) for it in found})


def experiment(config: Config) -> study.Study:
    columns: dict[str, study.Column] = {
        "model": "{model}",
        "-ELBO": "{negative_elbo:.2f}",
        "± ": "{elbo_standard_error:.2f}",
        **study.NLL,
        "KL": lambda row: " + ".join(f"{rate:.2f}" for rate in row["layer_rates"]),
        "active": study.active,
        "size": "{parameters:,}",
        "s": "{train_seconds:.0f}",
    }
    return comparison.compare(
        config,
        config.model,
        lambda dataset, name: build(config, dataset, name),
        lambda it: {"model": it.name},
        columns,
        draw=lambda out, found: draw(config, out, found),
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("hierarchies", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
