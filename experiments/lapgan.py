"""Images drawn from coarse to fine, by a game at each level: python -m experiments.lapgan.

Each level's generator draws the details of a Laplacian pyramid given the coarser image. The
coarsest image is a GAN's, or that of a density: a VAE, trained by its bound. Beside them a GAN of
one scale. Defaults train on scikit-learn's digits in a few minutes on two CPU cores.

Source: Denton, Chintala, Szlam & Fergus (2015), arXiv:1506.05751.
"""

import dataclasses
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments import study
from genmix import objectives
from genmix.divergences import gan
from genmix.evaluation import pictures, sample_quality
from genmix.families import (
    Implicit,
    LaplacianPyramid,
    LatentVariableModel,
    Normal,
    StandardNormal,
)
from genmix.nets import MLP, Added, ConvStack, Joined, Stacked
from genmix.objectives import Term
from genmix.runs import command_line
from genmix.training import Game, Player

Name = Literal["one scale", "pyramid", "pyramid on a VAE"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.OnGreyImages):
    """Images are in [-1, 1]; every part is the same in all variants but for its size."""

    model: study.Each[Name] = ("one scale", "pyramid", "pyramid on a VAE")
    levels: study.Count = 2
    """Above the coarsest image."""
    hidden: study.Count = 256
    """Width of the two hidden layers of critics and of the coarsest generator."""
    details: Literal["mlp", "convolutional"] = "mlp"
    """Generators of the levels; convolutional ones have one number of noise a pixel."""
    channels: study.Count = 32
    """Of the two hidden layers of a convolutional one."""
    latent: study.Count = 32
    """Entries of the noise of the others."""
    penalty: study.NotNegative = 0.1
    """Weight of R1."""
    steps: study.Count = 4000
    batch_size: study.Count = 64


def levels(config: Config, name: Name) -> int:
    return 0 if name == "one scale" else config.levels


def build(config: Config, name: Name, shape: tuple[int, ...]) -> Game:
    rngs, channels = nnx.Rngs(config.seed), shape[-1]
    relu: dict[str, Any] = {"activation": jax.nn.relu, "rngs": rngs}
    hidden, shapes = (config.hidden, config.hidden), [shape]
    for _ in range(levels(config, name)):
        shapes.append((-(-shapes[-1][0] // 2), -(-shapes[-1][1] // 2), channels))
    coarse, *finer = shapes[::-1]
    network = nnx.Sequential(MLP(config.latent, hidden, coarse, **relu), jnp.tanh)
    coarsest: Any = Implicit(StandardNormal(config.latent), network)
    if name == "pyramid on a VAE":
        coarsest = LatentVariableModel(
            prior=StandardNormal(config.latent),
            likelihood=Normal(network, scale=0.1),
            posterior=Normal(MLP(coarse, hidden, config.latent, **relu)),
        )

    def detail(shape: tuple[int, ...]) -> Implicit:
        if config.details == "mlp":
            given = config.latent + math.prod(shape)
            return Implicit(
                StandardNormal(config.latent), Joined(MLP(given, hidden, shape, **relu))
            )
        size = (config.channels, config.channels)
        network = Stacked(ConvStack(1 + channels, size, channels, rngs=rngs))
        return Implicit(StandardNormal((*shape[:2], 1)), network)

    pyramid = LaplacianPyramid(coarsest, [detail(s) for s in finer], [s[:2] for s in finer])
    critics = [MLP(coarse, hidden, 1, **relu), *(Added(MLP(s, hidden, 1, **relu)) for s in finer)]
    return Game(generator=pyramid, critics=nnx.List(critics))


def players(config: Config, name: Name) -> list[Player]:
    """Two for each level, or one where the coarsest part has a density."""
    adam, num_levels = optax.adam(config.falling(), b1=0.5, b2=0.99), levels(config, name)
    team = []

    def pair(level: int, compared: objectives.Comparison, owned: str, place: Any) -> None:
        critic = f"critics.{level}"
        told = objectives.critic(compared, gan.non_saturating, by=critic)
        told += config.penalty * objectives.r1(compared, by=critic)
        made = objectives.generator(compared, gan.non_saturating, by=critic)
        options: dict[str, Any] = {"optimizer": adam}
        team.append(Player(name=f"critic{level}", owns=(critic,), loss=place(told), **options))
        team.append(Player(name=f"generator{level}", owns=(owned,), loss=place(made), **options))

    on_coarsest = lambda term: term.of("generator.coarsest").on(
        objectives.coarsest_images(num_levels)
    )
    if name == "pyramid on a VAE":
        loss: Term = on_coarsest(objectives.elbo())
        team.append(Player(name="vae", owns=("generator.coarsest",), loss=loss, optimizer=adam))
    else:
        pair(0, objectives.data, "generator.coarsest", on_coarsest)
    for k in range(num_levels):
        place = lambda term: term.of("generator")
        pair(k + 1, objectives.detail(k), f"generator.details.{k}", place)
    return team


def evaluate(config: Config, result: study.Result, judge: study.Judge) -> dict[str, Any]:
    """The samples as a classifier sees them, and how each level's game stood at its end."""
    draw = lambda x: (x + 1) / 2
    samples = sample_quality.draw(config.key, result.model.generator, config.samples, draw)
    end = lambda figure: [
        float(values[-1])
        for name, (_, values) in sorted(result.history.items())
        if name.endswith(figure)
    ]
    games = {"critic_accuracy": end("_accuracy"), "critic_coverage": end("_coverage")}
    return judge.quality(samples) | games


def draw(config: Config, x: np.ndarray, result: study.Result) -> None:
    """Columns of ten images from coarse to fine: of the data, and of samples."""
    pyramid = result.model.generator
    large = lambda image: jax.image.resize(image, x.shape[1:], "nearest")

    def of_data(image: jax.Array) -> list[jax.Array]:
        coarsest, finer = pyramid.decompose(image)
        return [coarsest, *(level.coarse + level.detail for level in finer)]

    rows = lambda images: [jax.vmap(large)(row) for row in images]
    real = rows(jax.vmap(of_data)(2 * jnp.asarray(x, jnp.float32) - 1))
    made = rows(jax.jit(jax.vmap(pyramid.chain))(jax.random.split(config.key, len(x))))
    path = result.directory / "pyramid.png"
    pictures.save_samples(path, (np.concatenate([*real, *made]) + 1) / 2, columns=len(x))


def joined(figure: str) -> study.Column:
    return lambda row: ", ".join(f"{value:.2f}" for value in row.get(figure, ()))


def experiment(config: Config) -> study.Study:
    source = config.images()
    judge = study.judge_of(config, source)
    variant = lambda name: study.Variant(
        name=name,
        row={"model": name},
        build=lambda: build(config, name, source.train.shape[1:]),
        players=players(config, name),
        data=np.asarray(2 * source.train - 1, np.float32),
        plan=config.plan(reports=20, average_decay=0.999),
    )
    columns = {
        "model": "{model}",
        **study.QUALITY,
        "critics' accuracy": joined("critic_accuracy"),
        "coverage": joined("critic_coverage"),
        "training": "{train_seconds:.0f} s",
    }
    title = "{dataset}: samples seen by a classifier of accuracy {classifier_accuracy:.1%}"
    of_data = study.judged_data("data", {"model": "(training images)"}, judge, source.train)
    return study.Study(
        variants=[of_data, *(variant(name) for name in config.model)],
        measure=lambda it: it.model if not it.history else evaluate(config, it, judge(it.out)),
        draw_each=lambda it: draw(config, source.test[:10], it) if it.history else None,
        tables=[study.Table(title, columns)],
        facts=lambda out: {"dataset": config.dataset, "classifier_accuracy": judge(out).accuracy},
        units="shares of 1; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("lapgan", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
