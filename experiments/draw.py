"""DRAW: images painted on a canvas in several steps: python -m experiments.draw.

Defaults train on scikit-learn's digits in minutes on two CPU cores, without a window (all of the
image is read and written at each step) and with one, and draw a film of the canvas.

Source: Gregor et al. (2015), arXiv:1502.04623.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from flax import nnx

from experiments import study
from experiments.flow_vaes import comparison
from genmix.data import Dataset
from genmix.evaluation import pictures
from genmix.families import Bernoulli, Draw, Normal
from genmix.nets import LSTM, MLP, Read, Window, Write
from genmix.runs import command_line

Model = Literal["whole", "window"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(comparison.Settings):
    """What is read and written: the whole image at each step, or a window that moves."""

    model: study.Each[Model] = ("whole", "window")
    painting: study.Count = 8
    """Steps of the canvas."""
    latent: study.Count = 5
    """Dimensions of the latent of each step."""
    hidden: study.Count = 100
    """Width of both recurrent networks."""
    read_size: study.Count = 3
    """Filters along each side of the window that is read."""
    write_size: study.Count = 4
    """Filters along each side of the window that is written."""
    learning_rate: study.Positive = 1e-3


class Canvas(nnx.Module):
    """The canvas itself, as logits."""

    def __call__(self, canvas: jax.Array) -> jax.Array:
        return canvas


def build(config: Config, dataset: Dataset, name: str) -> Draw:
    rngs, hidden, shape = nnx.Rngs(config.seed), config.hidden, dataset.train.shape[1:]
    window = lambda size: Window(hidden, shape, size, rngs=rngs) if name == "window" else None
    read = Read(window(config.read_size))
    return Draw(
        likelihood=Bernoulli(Canvas()),
        posterior=Normal(MLP(hidden, (), config.latent, rngs=rngs)),
        encoder=LSTM(read.out_size(shape) + hidden, hidden, rngs=rngs),
        decoder=LSTM(config.latent, hidden, rngs=rngs),
        read=read,
        write=Write(hidden, shape, window(config.write_size), rngs=rngs),
        latent=config.latent,
        num_steps=config.painting,
    )


def draw(config: Config, out: Path, found: Sequence[study.Result]) -> None:
    """Of each model six canvases of the prior, a row each, from the first step to the last."""
    rows = {}
    for result in found:
        film = lambda key, model=result.model: model.canvases(model.latents(key))
        canvases = jax.jit(jax.vmap(film))(jax.random.split(config.key, 6))
        rows |= {f"{result.name} {i + 1}": np.asarray(film) for i, film in enumerate(canvases)}
    pictures.save_sheet(out / "film.png", rows)


def experiment(config: Config) -> study.Study:
    columns: dict[str, study.Column] = {
        "read and written": "{model}",
        "-ELBO": "{negative_elbo:.2f}",
        "± ": "{elbo_standard_error:.2f}",
        **study.NLL,
        "KL of the steps": lambda row: " + ".join(f"{rate:.1f}" for rate in row["layer_rates"]),
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
    return study.run("draw", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
