"""A generator that paints in several steps: python -m experiments.gran.

Each step sees what the last one added to the canvas, and has noise of its own or that of all steps.
One step is a GAN. Defaults train on scikit-learn's digits in a few minutes on two CPU cores.

Source: Im, Kim, Jiang & Memisevic (2016), arXiv:1602.05110.
"""

import dataclasses
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments import study
from genmix import objectives
from genmix.divergences import gan
from genmix.evaluation import pictures, sample_quality
from genmix.families import RecurrentAdversarial, StandardNormal
from genmix.nets import MLP, Joined
from genmix.runs import command_line
from genmix.training import Game, Player

Noise = Literal["fresh", "same"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.OnGreyImages):
    """One game for each number of steps and kind of noise; with one step both are the same."""

    painting: study.Each[study.Count] = (1, 3, 5)
    """Steps of the generator."""
    noise: study.Each[Noise] = ("fresh", "same")
    hidden: study.Count = 256
    """Width of the hidden layers."""
    latent: study.Count = 32
    """Entries of the noise of a step, and of what a step knows of the one before."""
    penalty: study.NotNegative = 0.1
    """Weight of R1."""
    shown: Annotated[int, study.at_least(1)] = 6
    """Images of each film."""
    steps: study.Count = 4000
    batch_size: study.Count = 64


def build(config: Config, num_steps: int, noise: Noise, shape: tuple[int, ...]) -> Game:
    rngs, size = nnx.Rngs(config.seed), config.latent
    relu: dict[str, Any] = {"activation": jax.nn.relu, "rngs": rngs}
    hidden = (config.hidden, config.hidden)
    encoder = nnx.Sequential(MLP(shape, (config.hidden,), size, **relu), jnp.tanh)
    generator = RecurrentAdversarial(
        StandardNormal(size),
        Joined(MLP(2 * size, hidden, shape, **relu)),
        encoder,
        shape,
        num_steps=num_steps,
        noise=noise,
    )
    return Game(generator=generator, critic=MLP(shape, hidden, 1, **relu))


def players(config: Config) -> list[Player]:
    told = objectives.critic(objectives.data, gan.non_saturating)
    told += config.penalty * objectives.r1(objectives.data)
    made = objectives.generator(objectives.data, gan.non_saturating)
    adam = optax.adam(config.falling(), b1=0.5, b2=0.99)
    return [
        Player(name="critic", loss=told.of("generator"), optimizer=adam),
        Player(name="generator", loss=made.of("generator"), optimizer=adam),
    ]


def evaluate(config: Config, result: study.Result, judge: study.Judge) -> dict[str, Any]:
    """The samples as a classifier sees them, and how the game stood at its end."""
    to_image = lambda x: (x + 1) / 2
    samples = sample_quality.draw(config.key, result.model.generator, config.samples, to_image)
    last = {name: float(values[-1]) for name, (_, values) in result.history.items()}
    game = {f"critic_{name}": last[f"critic/data_{name}"] for name in ("accuracy", "coverage")}
    return judge.quality(samples) | game


def draw(config: Config, result: study.Result) -> None:
    """The canvas after each step, from left to right; a row for each image."""
    film = result.model.generator.film
    films = jax.jit(jax.vmap(film))(jax.random.split(config.key, config.shown))
    images = (films.reshape(-1, *films.shape[2:]) + 1) / 2
    pictures.save_samples(result.directory / "canvas.png", images, columns=films.shape[1])


def experiment(config: Config) -> study.Study:
    source = config.images()
    judge = study.judge_of(config, source)

    def variant(num_steps: int, noise: Noise) -> study.Variant:
        return study.Variant(
            name=f"{num_steps} {noise}" if num_steps > 1 else "1",
            row={"painting": num_steps, "noise": noise if num_steps > 1 else "one"},
            build=lambda: build(config, num_steps, noise, source.train.shape[1:]),
            players=players(config),
            data=np.asarray(2 * source.train - 1, np.float32),
            plan=config.plan(reports=20, average_decay=0.999),
        )

    variants = [
        variant(t, noise)
        for t in config.painting
        for noise in (config.noise if t > 1 else config.noise[:1])
    ]
    columns = {
        "steps": "{painting}",
        "noise": "{noise}",
        **study.QUALITY,
        "critic's accuracy": "{critic_accuracy:.2f}",
        "coverage": "{critic_coverage:.2f}",
        "training": "{train_seconds:.0f} s",
    }
    title = "{dataset}: samples seen by a classifier of accuracy {classifier_accuracy:.1%}"
    row = {"painting": "(training images)", "noise": ""}
    of_data = study.judged_data("data", row, judge, source.train)
    return study.Study(
        variants=[of_data, *variants],
        measure=lambda it: it.model if not it.history else evaluate(config, it, judge(it.out)),
        draw_each=lambda it: draw(config, it) if it.history else None,
        tables=[study.Table(title, columns)],
        facts=lambda out: {"dataset": config.dataset, "classifier_accuracy": judge(out).accuracy},
        units="shares of 1; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("gran", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
