"""GANs on mixtures in the plane and on digits, what they cover: python -m experiments.gan.

Defaults train three small games in a few minutes on two CPU cores, with pictures over time.
"""

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from rich.console import Console
from rich.table import Table

from genmix import divergences
from genmix.data import grey
from genmix.data.grey import Images
from genmix.data.mixtures import BY_NAME, Mixture
from genmix.evaluation import classifier, pictures, sample_quality
from genmix.families import Implicit, StandardNormal
from genmix.nets import (
    MLP,
    DCGANCritic,
    DCGANGenerator,
    Joined,
    JoinedChannels,
    spectrally_normalized,
    state,
)
from genmix.objectives import Term, adversarial, comparison
from genmix.runs import command_line, run_directory, run_log
from genmix.training import Game, Plan, Player, Validation, fit

Data = Literal["eight-gaussians", "grid", "digits", "mnist", "fashion-mnist"]
Loss = Literal["minimax", "non-saturating", "least-squares", "hinge", "wasserstein"]
Penalty = Literal["none", "r1", "wgan-gp", "wgan-lp", "spectral-norm"]

PENALTIES = {"r1": adversarial.r1, "wgan-gp": adversarial.wgan_gp, "wgan-lp": adversarial.wgan_lp}
LOOKS = 6  # pictures over time
NUM_POINTS = 2**16  # drawn of a mixture for training


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """One game is played for each data set and loss."""

    dataset: tuple[Data, ...] = ("eight-gaussians", "grid", "digits")
    data_dir: Path | None = None
    """Folder that holds mnist/, ...; the others need none."""
    loss: tuple[Loss, ...] = ("non-saturating",)
    penalty: Penalty = "r1"
    """What keeps the critic smooth; without it image networks use batch normalization."""
    penalty_weight: float | None = None
    """Of r1: 0.03 in the plane and 0.1 for images; of wgan-gp and wgan-lp: 10."""
    network: Literal["mlp", "dcgan"] | None = None
    """Of images: mlp for digits and dcgan for larger ones if not given; of points always mlp."""
    conditional: bool = False
    """Give generator and critic the class; for images."""
    critic_steps: int = 1
    """Steps of the critic for one of the generator."""
    steps: int | None = None
    """Of the generator; 10,000, and for larger images than the digits 3,000."""
    batch_size: int | None = None
    """256 in the plane and 64 for images."""
    learning_rate: float | None = None
    """Of the players at the start, from where it falls to zero along a cosine; 3e-3 in the plane
    and 1e-3 for images."""
    critic_learning_rate: float | None = None
    """Of the critic; that of the generator if not given: two time scales."""
    average_decay: float = 0.999
    """Of the moving average of the parameters, which is what is evaluated."""
    samples: int = 2500
    """Drawn for the table, at least 4 of images."""
    seed: int = 0
    out: Path | None = None
    """Directory of the run; runs/gan/TIME if not given."""
    resume: bool = False
    """Go on with the run in --out, bit for bit."""

    def __post_init__(self):
        points = [name for name in self.dataset if name in BY_NAME]
        command_line.require(
            self,
            counts=("critic_steps", "steps", "batch_size", "samples"),
            positive=("learning_rate", "critic_learning_rate"),
            names=("dataset", "loss"),
            at_least={"samples": 4 if len(points) < len(self.dataset) else 1},  # for 3 neighbours
        )
        if not 0 <= self.average_decay < 1:
            raise ValueError(f"average_decay must be in [0, 1), got {self.average_decay}.")
        if self.penalty_weight is not None and not 0 <= self.penalty_weight < math.inf:
            raise ValueError(f"penalty_weight must not be negative, got {self.penalty_weight}.")
        if self.penalty_weight is not None and self.penalty not in PENALTIES:
            raise ValueError(
                f"--penalty-weight {self.penalty_weight} is of a term of the critic's loss, and "
                f"--penalty {self.penalty} adds none: use --penalty {', '.join(PENALTIES)}."
            )
        if self.network == "dcgan" and points:
            raise ValueError(
                f"{', '.join(points)} has points, and --network dcgan is of images: leave it out, "
                "or ask for images alone with --dataset."
            )
        if self.conditional and points:
            raise ValueError(f"{', '.join(points)} has no classes, which --conditional needs.")


def load(name: str, config: Config) -> Mixture | Images:
    if name in BY_NAME:
        return BY_NAME[name]
    return grey.load_images(name, config.data_dir)


def batch_size(config: Config, name: str) -> int:
    return config.batch_size or (256 if name in BY_NAME else 64)


def check(config: Config, name: str) -> None:
    """Refuse data that are not there or do not fill a batch, so that nothing is written."""
    source = load(name, config)
    size = NUM_POINTS if isinstance(source, Mixture) else len(source.train)
    command_line.require_batch(batch_size(config, name), size, name)


def build(config: Config, source: Mixture | Images) -> Game:
    rngs = nnx.Rngs(config.seed)
    relu: dict[str, Any] = {"activation": jax.nn.relu, "rngs": rngs}
    shape = (2,) if isinstance(source, Mixture) else source.train.shape[1:]
    latent = 2 if isinstance(source, Mixture) else 32
    given = num_classes(source) if config.conditional else 0
    if isinstance(source, Mixture):
        network, critic = MLP(2, (128, 128), 2, **relu), MLP(2, (128, 128), 1, **relu)
    elif (config.network or ("mlp" if shape[0] == 8 else "dcgan")) == "mlp":
        network = nnx.Sequential(MLP(latent + given, (256, 256), shape, **relu), jnp.tanh)
        critic = MLP(math.prod(shape) + given if given else shape, (256, 256), 1, **relu)
        critic = Joined(critic) if given else critic
    else:
        channels, normalizes = (128, 64), config.penalty == "none"
        network = DCGANGenerator(latent + given, channels, shape, rngs=rngs)
        seen = (*shape[:-1], shape[-1] + given)
        critic = DCGANCritic(seen, channels[::-1], batch_norm=normalizes, rngs=rngs)
        critic = JoinedChannels(critic) if given else critic
    if config.penalty == "spectral-norm":
        critic = spectrally_normalized(critic, rngs=rngs)
    network = Joined(network) if given else network
    return Game(generator=Implicit(StandardNormal(latent), network), critic=critic)


def num_classes(source: Mixture | Images) -> int:
    return 0 if isinstance(source, Mixture) else int(source.labels[0].max()) + 1


def compared(config: Config) -> comparison.Comparison:
    return comparison.conditional if config.conditional else comparison.data


def critic_term(config: Config, loss: str, source: Mixture | Images) -> Term:
    term = adversarial.critic(compared(config), divergences.gan.BY_NAME[loss])
    if config.penalty not in PENALTIES:
        return term
    weight = config.penalty_weight
    if weight is None:
        r1_weight = 0.03 if isinstance(source, Mixture) else 0.1
        weight = r1_weight if config.penalty == "r1" else 10.0
    return term + weight * PENALTIES[config.penalty](compared(config))


def players(config: Config, loss: str, source: Mixture | Images, steps: int) -> list[Player]:
    rate = config.learning_rate or (3e-3 if isinstance(source, Mixture) else 1e-3)
    # Moments of the gradient are kept for a short time: the other player moves on.
    adam = lambda rate, steps: optax.adam(optax.cosine_decay_schedule(rate, steps), b1=0.5, b2=0.99)
    critic = Player(
        name="critic",
        loss=critic_term(config, loss, source).of("generator"),
        optimizer=adam(config.critic_learning_rate or rate, steps * config.critic_steps),
        steps=config.critic_steps,
    )
    made = adversarial.generator(compared(config), divergences.gan.BY_NAME[loss])
    generator = Player(name="generator", loss=made.of("generator"), optimizer=adam(rate, steps))
    return [critic, generator]


def training_data(key: jax.Array, source: Mixture | Images) -> jax.Array:
    """Points of the mixture, or images in [-1, 1]."""
    if isinstance(source, Images):
        return jnp.asarray(2 * source.train - 1, jnp.float32)
    return source.draw(key, NUM_POINTS)


def watched(directory: Path, every: int, show: Callable[[Game], np.ndarray]) -> Validation:
    """Keep samples at each look, on the disk, for the run may be resumed from between two looks."""

    def look(game: Game) -> float:
        """The step: the later model is the better one, since the last one is wanted."""
        past, _ = run_log.read_metrics(directory / "metrics.jsonl").get("seconds", ([0], []))
        step = int(past[-1]) + every
        np.save(directory / f"samples-{step}.npy", show(game))
        return step

    return Validation(look, every)


def play(
    config: Config, name: str, loss: str, source: Mixture | Images, directory: Path
) -> tuple[Game, dict[str, np.ndarray], dict[str, Any]]:
    """The game after training, its samples over time, and figures of the training."""
    is_plane = isinstance(source, Mixture)
    is_small = is_plane or source.train.shape[1] == 8
    steps = config.steps or (10_000 if is_small else 3_000)
    data_key, fit_key, look_key = jax.random.split(jax.random.key(config.seed), 3)
    every = max(steps // LOOKS, 1)
    given = num_classes(source) if config.conditional else 0
    x = training_data(data_key, source)
    batches = x
    if isinstance(source, Images) and given:
        batches = (x, jax.nn.one_hot(source.labels[0], given))
    show = lambda game: draw(jax.random.clone(look_key), game, 5000 if is_plane else 10, given)
    plan = Plan(
        num_rounds=steps - steps % every,
        batch_size=batch_size(config, name),
        average_decay=config.average_decay,
        rounds_per_call=every,
        validation=watched(directory, every, show),
        directory=directory,
        resume=config.resume,
        label=f"{name}, {loss}",
    )
    team = players(config, loss, source, steps)
    trained = fit(fit_key, build(config, source), team, batches, plan)
    last = {metric: float(values[-1]) for metric, (_, values) in trained.history.items()}
    name = compared(config).name
    figures = {
        "data_accuracy": last[f"critic/{name}_accuracy"],
        "data_gradient_norm": last[f"generator/{name}_gradient_norm"],
    }
    looks = range(every, plan.num_rounds + 1, every)
    over_time = {f"step {step}": np.load(directory / f"samples-{step}.npy") for step in looks}
    return trained.model, over_time, figures | {"train_seconds": trained.seconds}


def draw(key: jax.Array, game: Game, num_samples: int, classes: int = 0) -> np.ndarray:
    """Samples; given so many classes, of one class after the other, again and again."""
    if not classes:
        return np.asarray(sample_quality.draw(key, game.generator, num_samples, lambda x: x))
    quiet = state.evaluating(game.generator)
    one = lambda pair: state.fresh(quiet).sample(pair[0], jax.nn.one_hot(pair[1], classes))
    pairs = jax.random.split(key, num_samples), jnp.arange(num_samples) % classes
    return np.asarray(jax.jit(lambda pairs: jax.lax.map(one, pairs, batch_size=500))(pairs))


def run(config: Config, name: str, out: Path) -> list[dict[str, Any]]:
    """All games on one data set, for images after the row of the training images themselves."""
    source = load(name, config)
    rows, histories = [], {}
    judge: Any = None  # of images only
    if isinstance(source, Images):
        judge = classifier.train(
            jax.random.key(config.seed),
            source.train,
            source.labels[0],
            directory=out / f"{name}-classifier",
        )
        accuracy = classifier.accuracy(judge, source.test, source.labels[1])
        quality = sample_quality.of_images(judge, source.train[: config.samples], source.test)
        row = {"dataset": name, "loss": "(training images)", "classifier_accuracy": accuracy}
        rows.append(row | quality._asdict())
    for loss in config.loss:
        game, over_time, figures = play(config, name, loss, source, out / f"{name}-{loss}")
        histories[loss] = over_time
        key = jax.random.key(config.seed)
        if isinstance(source, Mixture):
            samples = draw(key, game, config.samples)
            quality = sample_quality.modes(samples, source.centres, source.scale)
            figures["modes"] = len(source.centres)
        else:
            given = num_classes(source) if config.conditional else 0
            images = (draw(key, game, config.samples, given) + 1) / 2
            quality = sample_quality.of_images(judge, images, source.test)
            if given:
                seen = np.argmax(classifier.seen(judge, images)[1], axis=1)
                figures["agreement"] = float(np.mean(seen == np.arange(len(seen)) % given))
        rows.append({"dataset": name, "loss": loss} | quality._asdict() | figures)
    save_pictures(out, name, source, histories)
    return rows


def save_pictures(
    out: Path, name: str, source: Mixture | Images, histories: dict[str, dict[str, np.ndarray]]
) -> None:
    """Samples over time: histograms in the plane, beside the data's; a row of images a look."""
    if isinstance(source, Images):
        for loss, over_time in histories.items():
            images = (np.concatenate(list(over_time.values())) + 1) / 2
            pictures.save_samples(out / f"{name}-{loss}.png", images, columns=10)
        return
    reach = 1.25 * float(np.max(source.centres))
    data = np.asarray(training_data(jax.random.key(0), source))[:5000]
    histogram = lambda x: (
        np.histogram2d(x[:, 1], x[:, 0], bins=60, range=[[-reach, reach]] * 2)[0] ** 0.5
    )
    rows = {
        loss: {"data": histogram(data)} | {step: histogram(x) for step, x in over_time.items()}
        for loss, over_time in histories.items()
    }
    extents = dict.fromkeys(rows, (-reach, reach, -reach, reach))
    pictures.save_fields(out / f"{name}.png", rows, extents)


def print_tables(rows: list[dict[str, Any]]) -> None:
    points = [row for row in rows if "modes" in row]
    if points:
        columns = ("data", "loss", "modes", "high quality", "rarest mode", "training")
        table = Table(*columns, title="2-D mixtures: samples within three deviations of a mode")
        for row in points:
            table.add_row(
                row["dataset"],
                row["loss"],
                f"{row['covered']} of {row['modes']}",
                f"{100 * row['high_quality']:.1f} %",
                f"{100 * row['smallest_share']:.2f} %",
                f"{row['train_seconds']:.0f} s",
            )
        Console().print(table)
    images = [row for row in rows if "mode_score" in row]
    if images:
        accuracies = {f"{100 * r['classifier_accuracy']:.1f} %" for r in images if len(r) < 10}
        title = f"images, seen by a classifier of test accuracy {', '.join(sorted(accuracies))}"
        scores = ("Fréchet", "MODE", "IS", "precision", "recall")
        table = Table("data", "loss", *scores, "class", "training", title=title)
        for row in images:
            seconds = row.get("train_seconds")
            table.add_row(
                row["dataset"],
                row["loss"],
                f"{row['frechet']:.2f}",
                f"{row['mode_score']:.2f}",
                f"{row['inception_score']:.2f}",
                f"{row['precision']:.2f}",
                f"{row['recall']:.2f}",
                f"{row['agreement']:.1%}" if "agreement" in row else "",
                "" if seconds is None else f"{seconds:.0f} s",
            )
        Console().print(table)


def main(config: Config) -> list[dict[str, Any]]:
    start = time.perf_counter()
    for name in config.dataset:
        check(config, name)
    out = run_directory.begin("gan", config)
    with run_directory.locked(out):
        rows = [row for name in config.dataset for row in run(config, name, out)]
    print_tables(rows)
    run_directory.write_results(
        out,
        start,
        units="shares of 1; seconds",
        rows=rows,
        samples=config.samples,
        seed=config.seed,
    )
    print(f"pictures and figures: {out}")
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
