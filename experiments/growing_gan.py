"""A GAN that grows by resolutions, and one at once: python -m experiments.growing_gan.

Each stage of the game fades the next resolution in, of real images too, and then trains on; what is
evaluated is an average that follows the generator through all stages. Defaults train on
scikit-learn's digits in minutes on two CPU cores.

Source: Karras, Aila, Laine & Lehtinen (2018), arXiv:1710.10196.
"""

import dataclasses
from pathlib import Path
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
from genmix.families import Implicit, StandardNormal
from genmix.nets import resampling, state, style
from genmix.nets.style.growing import grown
from genmix.runs import command_line
from genmix.training import Fit, Game, Player, Run, Stage, fit_stages

Name = Literal["growing", "at once"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.OnGreyImages):
    """Both games have the same networks, and as many rounds in all."""

    model: study.Each[Name] = ("growing", "at once")
    channels: tuple[study.Count, ...] = (32, 16)
    """Of the resolutions, from the coarsest to the image's own."""
    latent: study.Count = 32
    penalty: study.NotNegative = 0.3
    """Weight of R1."""
    average_decay: study.Share = 0.99
    """Of the moving average of the generator, a round."""
    steps: study.Count = 1500
    """Rounds of each resolution; in the first half of them it fades in."""
    batch_size: study.Count = 32
    learning_rate: study.Positive = 2e-3


def build(config: Config, shape: tuple[int, ...]) -> Game:
    rngs = nnx.Rngs(config.seed)
    network = style.GrowingGenerator(config.latent, config.channels, shape, rngs=rngs)
    generator = Implicit(StandardNormal(config.latent), network)
    critic = style.GrowingCritic(shape, config.channels, rngs=rngs)
    return Game(generator=generator, critic=critic, average=state.fresh(generator))


def players(config: Config, fade_steps: int) -> list[Player]:
    told = objectives.critic(objectives.grown_data, gan.non_saturating)
    told += config.penalty * objectives.r1(objectives.grown_data)
    made = objectives.generator(objectives.grown_data, gan.non_saturating)
    adam = optax.adam(config.learning_rate, b1=0.0, b2=0.99)
    fading = lambda term: objectives.fading(term.of("generator"), fade_steps)
    followed = objectives.follow(by="generator").of("average")
    return [
        Player(name="critic", loss=fading(told), optimizer=adam),
        Player(name="generator", loss=fading(made), optimizer=adam),
        Player(name="average", loss=followed, optimizer=optax.sgd(1 - config.average_decay)),
    ]


def stages(config: Config, name: Name, images: np.ndarray) -> list[Stage]:
    """One for each resolution, from the coarsest on; or the last one alone, for as long."""
    last, data = len(config.channels) - 1, [jnp.asarray(2 * images - 1, jnp.float32)]
    for _ in range(last):
        data.append(jax.vmap(resampling.halved)(data[-1]))
    levels = range(last + 1) if name == "growing" else [last]
    steps = config.steps if name == "growing" else config.steps * (last + 1)
    return [
        Stage(
            name="x".join(map(str, data[last - level].shape[1:3])),
            players=players(config, steps // 2 if name == "growing" and level else 0),
            data=data[last - level],
            plan=config.plan(steps, reports=10),
            begin=lambda game, level=level: grown(game, level),
        )
        for level in levels
    ]


def train(config: Config, name: Name, images: np.ndarray, directory: Path) -> list[Fit]:
    run = Run(directory=directory, label=name, resume=config.resume, debug=config.debug)
    game = build(config, images.shape[1:])
    return fit_stages(config.key, game, stages(config, name, images), run)


def evaluate(config: Config, fits: list[Fit], judge: study.Judge) -> dict[str, Any]:
    """Samples of the average as a classifier sees them, and how the game stood at its end."""
    average = fits[-1].model.average
    samples = sample_quality.draw(config.key, average, config.samples, lambda x: (x + 1) / 2)
    last = {name: float(values[-1]) for name, (_, values) in fits[-1].history.items()}
    return {
        "rounds": sum(int(fit.state.round) for fit in fits),
        "train_seconds": sum(fit.seconds for fit in fits),
        **judge.quality(np.clip(samples, 0, 1)),
        **{f"critic_{name}": last[f"critic/data_{name}"] for name in ("accuracy", "coverage")},
    }


def draw(config: Config, fits: list[Fit], shape: tuple[int, ...], path: Path) -> None:
    """Two rows of samples after each stage, of the same noise."""
    rows = []
    for fit in fits:
        samples = sample_quality.draw(config.key, fit.model.average, 20, lambda x: (x + 1) / 2)
        rows.append(jax.image.resize(samples, (20, *shape), "nearest"))
    pictures.save_samples(path, np.concatenate(rows))


def experiment(config: Config) -> study.Study:
    source = config.images()
    judge, shape = study.judge_of(config, source), source.train.shape[1:]
    build(config, shape)  # may refuse
    variant = lambda name: study.Computation(
        name=name,
        row={"model": name},
        compute=lambda directory: train(config, name, source.train, directory),
    )
    columns = {
        "model": "{model}",
        "rounds": "{rounds}",
        **study.QUALITY,
        "critic's accuracy": "{critic_accuracy:.2f}",
        "coverage": "{critic_coverage:.2f}",
        "training": "{train_seconds:.0f} s",
    }
    title = "{dataset}: samples seen by a classifier of accuracy {classifier_accuracy:.1%}"
    of_data = study.judged_data("data", {"model": "(training images)"}, judge, source.train)
    is_data = lambda it: isinstance(it.model, dict)
    picture = lambda it: draw(config, it.model, shape, it.directory / "stages.png")
    return study.Study(
        variants=[of_data, *(variant(name) for name in config.model)],
        measure=lambda it: it.model if is_data(it) else evaluate(config, it.model, judge(it.out)),
        draw_each=lambda it: None if is_data(it) else picture(it),
        tables=[study.Table(title, columns)],
        facts=lambda out: {"dataset": config.dataset, "classifier_accuracy": judge(out).accuracy},
        units="shares of 1; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("growing_gan", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
