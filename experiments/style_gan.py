"""Style-based generators, and what their styles do: python -m experiments.style_gan.

Styles scale the weights of convolutions, or are the mean and deviation of what comes out of them.
The mixing grid gives an image's first layers one style and the others another; truncation draws
styles nearer to their mean. Defaults train on scikit-learn's digits in minutes on two CPU cores.

Source: Karras et al. (2019), arXiv:1812.04948; (2020), arXiv:1912.04958.
"""

import dataclasses
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
from genmix.families import StyleBased
from genmix.nets import state, style
from genmix.runs import command_line
from genmix.training import Game, Player

TRUNCATIONS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.OnGreyImages):
    """One game for each kind of generator, against one kind of critic."""

    kind: study.Each[Literal["modulated", "adain"]] = ("modulated", "adain")
    channels: tuple[study.Count, ...] = (32, 16)
    """Of the resolutions, from the coarsest to the image's own."""
    latent: study.Count = 32
    """Entries of the noise and of a style."""
    mapping_layers: study.Count = 4
    mixing: study.Share = 0.9
    """Share of events in training with two styles."""
    penalty: study.NotNegative = 0.1
    """Weight of R1."""
    penalty_every: study.Count = 4
    """Steps of the critic of which one has the penalty, that many times."""
    truncation: study.NotNegative = 0.7
    """Of a second row of figures."""
    steps: study.Count = 5000
    batch_size: study.Count = 32
    learning_rate: study.Positive = 2e-3


def build(config: Config, kind: Any, shape: tuple[int, ...]) -> Game:
    rngs, size = nnx.Rngs(config.seed), config.latent
    generator = StyleBased(
        style.Mapping(size, size, num_layers=config.mapping_layers, rngs=rngs),
        style.Synthesis(size, config.channels, shape, kind=kind, rngs=rngs),
        latent=size,
        mixing=config.mixing,
    )
    critic = style.GrowingCritic(shape, config.channels, rngs=rngs)
    return Game(generator=generator, critic=critic)


def players(config: Config) -> list[Player]:
    penalty = objectives.lazily(objectives.r1(objectives.data), config.penalty_every)
    told = objectives.critic(objectives.data, gan.non_saturating) + config.penalty * penalty
    made = objectives.generator(objectives.data, gan.non_saturating)
    adam = optax.adam(config.falling(), b1=0.0, b2=0.99)
    return [
        Player(name="critic", loss=told.of("generator"), optimizer=adam),
        Player(name="generator", loss=made.of("generator"), optimizer=adam),
    ]


def to_images(x: Any) -> np.ndarray:
    return (np.asarray(x) + 1) / 2


def evaluate(config: Config, result: study.Result, judge: study.Judge) -> list[dict[str, Any]]:
    """Samples as a classifier sees them, at truncation 1 and less, and the game at its end."""
    last = {name: float(values[-1]) for name, (_, values) in result.history.items()}
    game = {f"critic_{name}": last[f"critic/data_{name}"] for name in ("accuracy", "coverage")}
    rows, generator = [], result.model.generator
    for truncation in (1.0, config.truncation):
        part = generator if truncation == 1 else generator.truncated(truncation)
        samples = sample_quality.draw(config.key, part, config.samples, lambda x: (x + 1) / 2)
        rows.append({"truncation": truncation, **judge.quality(samples), **game})
    return rows


def draw(config: Config, result: study.Result) -> None:
    """Samples; a grid of mixed styles; a column for each truncation."""
    generator, (mix_key, noise_key) = result.model.generator, jax.random.split(config.key)
    quiet = state.evaluating(generator)
    samples = sample_quality.draw(config.key, generator, 50, lambda x: x)
    pictures.save_samples(result.directory / "samples.png", to_images(samples))
    z = jax.random.normal(mix_key, (10, config.latent))
    styles = jax.vmap(quiet.style)(z)
    middle = (quiet.synthesis.num_styles + 1) // 2

    @jax.jit
    def mixed(first: jax.Array, second: jax.Array) -> jax.Array:
        return quiet.image(jax.random.clone(noise_key), quiet.mixed(first, second, middle))

    alone = jax.vmap(lambda w: mixed(w, w))(styles)
    rows = [jnp.concatenate([jnp.full_like(alone[:1], -1.0), alone[:9]])]
    for w, image in zip(styles[4:], alone[4:], strict=True):
        row = jax.vmap(lambda second, w=w: mixed(w, second))(styles[:9])
        rows.append(jnp.concatenate([image[None], row]))
    pictures.save_samples(result.directory / "mixing.png", to_images(jnp.concatenate(rows)))
    rows = [
        jax.vmap(lambda w: mixed(w, w))(jax.vmap(quiet.truncated(psi).style)(z))
        for psi in TRUNCATIONS
    ]
    pictures.save_samples(result.directory / "truncation.png", to_images(jnp.concatenate(rows)))


def experiment(config: Config) -> study.Study:
    source = config.images()
    judge = study.judge_of(config, source)
    variant = lambda kind: study.Variant(
        name=kind,
        row={"kind": kind},
        build=lambda: build(config, kind, source.train.shape[1:]),
        players=players(config),
        data=np.asarray(2 * source.train - 1, np.float32),
        plan=config.plan(reports=20, average_decay=0.999),
    )
    columns = {
        "styles": "{kind}",
        "truncation": "{truncation:g}",
        **study.QUALITY,
        "critic's accuracy": "{critic_accuracy:.2f}",
        "coverage": "{critic_coverage:.2f}",
        "training": "{train_seconds:.0f} s",
    }
    title = "{dataset}: samples seen by a classifier of accuracy {classifier_accuracy:.1%}"
    of_data = study.judged_data("data", {"kind": "(training images)"}, judge, source.train)
    return study.Study(
        variants=[of_data, *(variant(kind) for kind in config.kind)],
        measure=lambda it: it.model if not it.history else evaluate(config, it, judge(it.out)),
        draw_each=lambda it: draw(config, it) if it.history else None,
        tables=[study.Table(title, columns)],
        facts=lambda out: {"dataset": config.dataset, "classifier_accuracy": judge(out).accuracy},
        units="shares of 1; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("style_gan", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
