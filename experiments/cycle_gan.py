"""Translation between two domains of images without pairs: python -m experiments.cycle_gan.

Domains are digits and their inverted, rotated or thickened twins, MNIST and Fashion-MNIST, or two
folders of images: --domains folders --folders A B --side 32. Where the truth is known, classifiers
of each domain say whether a translated digit is still the same digit.

Source: Zhu et al. (2017), arXiv:1703.10593.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments import study
from genmix import objectives
from genmix.data import domains, grey
from genmix.data.domains import Domains
from genmix.divergences import gan
from genmix.evaluation import pictures
from genmix.families import Deterministic
from genmix.nets import DCGANCritic, ResidualTranslator
from genmix.objectives import Pool, Term
from genmix.runs import command_line
from genmix.training import Game, Player

Name = Literal["inverted", "rotated", "thickened", "mnist-to-fashion", "folders"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.Training):
    """Four networks: a translator in each direction, and a critic of each domain."""

    domains: study.Each[Name] = ("inverted", "rotated", "thickened")
    digits: Literal["digits", "mnist"] = "digits"
    """Of the twins."""
    folders: tuple[str, str] | None = None
    """Of images, for --domains folders."""
    side: study.Count = 32
    """Of the images of folders, a multiple of 4."""
    data_dir: Path | None = None
    """Folder that holds mnist/ and fashion_mnist/; the digits need none."""
    limit: study.Count | None = None
    """Test images at most; all by default."""
    cycle: study.NotNegative = 10.0
    """Weight of the cycle's error."""
    identity: study.NotNegative | None = None
    """Weight of the error of images of the target, which should stay as they are; 5 if not given,
    and 0 for inverted twins, which have no colours in common."""
    pool: study.NotNegativeCount = 50
    """Earlier translations kept for each critic."""
    channels: tuple[study.Count, ...] = (32,)
    """Of a translator's resolutions; with one it is local, and keeps shapes where they are."""
    blocks: study.Count = 1
    """Residual blocks of a translator."""
    steps: study.Count = 1000
    batch_size: study.Count = 16

    def __post_init__(self):
        super().__post_init__()
        if ("folders" in self.domains) != (self.folders is not None):
            raise ValueError("--domains folders and --folders A B go together.")


@functools.cache
def load(config: Config, name: Name) -> Domains:
    if name == "folders":
        assert config.folders is not None
        return domains.folders(*map(Path, config.folders), side=config.side)
    images = functools.partial(grey.load_images, data_dir=config.data_dir, limit=config.limit)
    if name == "mnist-to-fashion":
        return domains.between(images("mnist"), images("fashion-mnist"))
    return domains.twins(images(config.digits), domains.TWINS[name])


def build(config: Config, shape: tuple[int, ...]) -> Game:
    rngs = nnx.Rngs(config.seed)
    translator = lambda: Deterministic(
        ResidualTranslator(shape, config.channels, num_blocks=config.blocks, rngs=rngs)
    )
    critic = lambda: DCGANCritic(shape, (32, 64), batch_norm=False, rngs=rngs)
    return Game(to_b=translator(), to_a=translator(), critic_b=critic(), critic_a=critic())


def translators(config: Config, name: Name) -> Term:
    """What both translators minimise together."""
    identity = config.identity
    if identity is None:
        identity = 0.0 if name == "inverted" else 5.0

    def towards(there: str, back: str, critic: str) -> Term:
        term = objectives.generator(objectives.translated, gan.least_squares, by=critic)
        term += config.cycle * objectives.cycle(back=back)
        return (term + identity * objectives.identity()).of(there).named(there)

    back = towards("to_a", "to_b", "critic_a").on(objectives.reverse)
    return towards("to_b", "to_a", "critic_b") + back


def players(config: Config, name: Name, shape: tuple[int, ...]) -> list[Player]:
    adam = optax.adam(config.falling(), b1=0.5)
    pool = Pool(config.pool, jnp.zeros(shape))

    def judging(critic: str, there: str) -> Term:
        compared = objectives.translated
        return objectives.critic(compared, gan.least_squares, by=critic, pool=pool).of(there)

    of_a = judging("critic_a", "to_a").on(objectives.reverse)
    return [
        Player(name="both", owns=("to_a", "to_b"), loss=translators(config, name), optimizer=adam),
        Player(name="critic_b", loss=judging("critic_b", "to_b"), optimizer=adam),
        Player(name="critic_a", loss=of_a, optimizer=adam),
    ]


def apply(translator: Deterministic, images: np.ndarray) -> np.ndarray:
    """Translations of images in [0, 1]."""
    one = lambda x: (translator.network(2 * x - 1) + 1) / 2
    mapped = jax.jit(lambda x: jax.lax.map(one, x, batch_size=100))
    return np.asarray(mapped(jnp.asarray(images, jnp.float32)))


def evaluate(config: Config, result: study.Result) -> dict[str, Any]:
    """Errors of a pixel in [0, 1] on test images, and how the game stood at its end."""
    game, pair = result.model, load(config, result.row["domains"])
    a, b = pair.source.test, pair.target.test
    in_b, in_a = apply(game.to_b, a), apply(game.to_a, b)
    error = lambda x, y: float(np.mean(np.abs(x - y)))
    last = {name: float(values[-1]) for name, (_, values) in result.history.items()}
    figures: dict[str, Any] = {
        "cycle_a": error(apply(game.to_a, in_b), a),
        "cycle_b": error(apply(game.to_b, in_a), b),
    }
    for figure in ("accuracy", "coverage"):
        for critic in ("critic_a", "critic_b"):
            figures[f"{critic}_{figure}"] = last[f"{critic}/translated_{figure}"]
    if pair.are_twins:
        figures |= {"twin_error": error(in_b, b), "twin_error_back": error(in_a, a)}
        for name, images, domain in (("same", in_b, pair.target), ("back", in_a, pair.source)):
            judge = study.judge_of(config, domain, f"classifier-{name}")(result.directory)
            figures[name] = float(np.mean(judge.classes(images) == domain.labels[1]))
            figures[f"{name}_truth"] = judge.accuracy
    return figures


def draw(config: Config, result: study.Result) -> None:
    """Rows: images, their translations, and these translated back; of both domains."""
    game, pair = result.model, load(config, result.row["domains"])
    rows = []
    for images, there, back in (
        (pair.source.test[:10], game.to_b, game.to_a),
        (pair.target.test[:10], game.to_a, game.to_b),
    ):
        translated = apply(there, images)
        rows += [images, translated, apply(back, translated)]
    pictures.save_samples(
        result.directory / "translations.png", np.concatenate(rows), columns=len(rows[0])
    )


def variant(config: Config, name: Name) -> study.Variant:
    pair = load(config, name)
    shape, scaled = pair.source.train.shape[1:], lambda x: np.asarray(2 * x - 1, np.float32)
    return study.Variant(
        name=name,
        row={"domains": name},
        build=lambda: build(config, shape),
        players=players(config, name, shape),
        data=(scaled(pair.source.train), scaled(pair.target.train)),
        plan=config.plan(reports=20, average_decay=0.99),
    )


SHOWN = {
    "domains": "{domains}",
    "same digit": "{same:.1%} ({same_truth:.1%})",
    "back": "{back:.1%} ({back_truth:.1%})",
    "error of the twin": "{twin_error:.3f}, {twin_error_back:.3f}",
    "of the cycle": "{cycle_a:.3f}, {cycle_b:.3f}",
    "critics' accuracy": "{critic_b_accuracy:.2f}, {critic_a_accuracy:.2f}",
    "coverage": "{critic_b_coverage:.2f}, {critic_a_coverage:.2f}",
    "training": "{train_seconds:.0f} s",
}
OF_TWINS = ("same digit", "back", "error of the twin")


def experiment(config: Config) -> study.Study:
    has_twins = any(name in domains.TWINS for name in config.domains)
    shown = SHOWN if has_twins else {name: SHOWN[name] for name in SHOWN if name not in OF_TWINS}
    return study.Study(
        variants=[variant(config, name) for name in config.domains],
        measure=lambda result: evaluate(config, result),
        draw_each=lambda result: draw(config, result),
        tables=[
            study.Table("translations of test images, as classifiers of twins see them", shown)
        ],
        units="shares of 1; absolute errors of a pixel in [0, 1]; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("cycle_gan", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
