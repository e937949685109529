"""A GAN on the line, and its critic beside the best one, p / (p + q): python -m experiments.gan_1d.

The critic moves several times a round, so that its probability that x is real keeps close to the
curve that is best for the generator of the time. Defaults take a minute on two CPU cores.

Source: Goodfellow et al. (2014), arXiv:1406.2661, proposition 1 and figure 1.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments import study
from genmix import objectives
from genmix.densities import normal
from genmix.divergences import gan
from genmix.evaluation import pictures, sample_quality
from genmix.families import Implicit, StandardNormal
from genmix.nets import MLP
from genmix.runs import command_line
from genmix.training import Game, Player

GRID = np.linspace(-4, 4, 161)
CENTRES, SCALE = np.array([-1.5, 1.5]), 0.5  # of two normals in equal shares
LOOKS = 5
CURVES = ("p, the data", "q, the samples", "critic", "p / (p + q)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.Resumable):
    """Noise, events and both networks are one number in, one number out."""

    hidden: study.Count = 64
    """Width of the two hidden layers of both networks."""
    critic_steps: study.Count = 5
    """Steps of the critic for one of the generator."""
    steps: study.Count = 2000
    """Of the generator."""
    batch_size: study.Count = 256
    learning_rate: study.Positive = 1e-3
    generator_rate: study.Positive = 2e-4
    """Of the generator, slower, so that the critic can follow."""
    points: study.Count = 50_000
    """Drawn of the data for training, and of the generator for each curve."""


def density(x: Any) -> jax.Array:
    """Of the data."""
    x = jnp.asarray(x)
    return jnp.mean(jnp.stack([jnp.exp(normal.log_prob(x, c, SCALE)) for c in CENTRES]), axis=0)


def training_data(config: Config) -> jax.Array:
    centre_key, noise_key = jax.random.split(config.key)
    centres = jax.random.choice(centre_key, jnp.asarray(CENTRES, jnp.float32), (config.points, 1))
    return centres + SCALE * jax.random.normal(noise_key, (config.points, 1))


def build(config: Config) -> Game:
    size: Any = (1, (config.hidden, config.hidden), 1)
    generator = Implicit(StandardNormal(1), MLP(*size, rngs=nnx.Rngs(config.seed)))
    return Game(generator=generator, critic=MLP(*size, rngs=nnx.Rngs(config.seed + 1)))


def players(config: Config) -> list[Player]:
    told = objectives.critic(objectives.data, gan.non_saturating).of("generator")
    made = objectives.generator(objectives.data, gan.non_saturating).of("generator")
    adam = lambda rate: optax.adam(rate, b1=0.5, b2=0.99)
    return [
        Player(
            name="critic",
            loss=told,
            optimizer=adam(config.learning_rate),
            steps=config.critic_steps,
        ),
        Player(name="generator", loss=made, optimizer=adam(config.generator_rate)),
    ]


def curves(config: Config, game: Game) -> np.ndarray:
    """Those of `CURVES` on the grid; the samples' density is a histogram of a cell a point."""
    step = GRID[1] - GRID[0]
    edges = np.append(GRID - step / 2, GRID[-1] + step / 2)
    samples = sample_quality.draw(config.key, game.generator, config.points)
    q = np.histogram(np.asarray(samples)[:, 0], edges)[0] / (config.points * step)
    p = np.asarray(density(GRID))
    scores = jax.vmap(lambda x: game.critic(x[None])[0])(jnp.asarray(GRID, jnp.float32))
    best = p / np.maximum(p + q, 1e-30)
    return np.stack([p, q, np.asarray(jax.nn.sigmoid(scores)), best])


def evaluate(config: Config, result: study.Result) -> dict[str, Any]:
    """Distance of the critic from the best one, and what both say of the divergence, in nats."""
    p, q, critic, best = curves(config, result.model)
    step = GRID[1] - GRID[0]
    clipped = lambda d: np.clip(d, 1e-7, 1 - 1e-7)
    value = lambda d: float(
        np.sum(p * np.log(2 * clipped(d)) + q * np.log(2 * (1 - clipped(d)))) * step / 2
    )
    return {
        "critic_error": float(np.sum((p + q) / 2 * np.abs(critic - best)) * step),
        "jsd": value(best),
        "bound": value(critic),
        "critic_accuracy": float(result.history["critic/data_accuracy"][1][-1]),
        "critic_coverage": float(result.history["critic/data_coverage"][1][-1]),
    }


def draw(result: study.Result) -> None:
    """The curves at several times."""
    film = {
        title: {name: (GRID, y) for name, y in zip(CURVES, frame, strict=True)}
        for title, frame in study.frames(result).items()
    }
    pictures.save_panels(result.directory / "film.png", film, x_label="x")


def experiment(config: Config) -> study.Study:
    every = max(config.steps // LOOKS, 1)
    variant = study.Variant(
        name="gan_1d",
        folder="",
        row={"steps": config.steps - config.steps % every},
        build=lambda: build(config),
        players=players(config),
        data=training_data(config),
        plan=lambda directory: study.plan(
            config.steps - config.steps % every,
            config.batch_size,
            rounds_per_call=every,
            validation=study.film(lambda game: curves(config, game), every, directory),
        ),
    )
    columns = {
        "steps": "{steps}",
        "critic's error": "{critic_error:.3f}",
        "JSD": "{jsd:.4f}",
        "the critic's bound": "{bound:.4f}",
        "accuracy": "{critic_accuracy:.2f}",
        "coverage": "{critic_coverage:.2f}",
        "training": "{train_seconds:.0f} s",
    }
    return study.Study(
        variants=[variant],
        measure=lambda result: evaluate(config, result),
        draw_each=draw,
        tables=[study.Table("a critic on the line, beside p / (p + q)", columns)],
        units="nats; probabilities; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("gan_1d", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
