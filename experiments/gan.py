"""GANs on mixtures in the plane and on digits, what they cover: python -m experiments.gan.

Defaults train three small games in a few minutes on two CPU cores, with pictures over time.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments import study
from genmix import divergences, objectives
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
from genmix.objectives import Term
from genmix.runs import command_line, run_log
from genmix.training import Game, Plan, Player, Validation

Data = Literal["eight-gaussians", "grid", "digits", "mnist", "fashion-mnist"]
Loss = Literal["minimax", "non-saturating", "least-squares", "hinge", "wasserstein"]
Penalty = Literal["none", "r1", "wgan-gp", "wgan-lp", "spectral-norm"]

PENALTIES = {"r1": objectives.r1, "wgan-gp": objectives.wgan_gp, "wgan-lp": objectives.wgan_lp}
LOOKS = 6  # pictures over time
NUM_POINTS = 2**16  # drawn of a mixture for training
Decay = Annotated[float, study.Rule(lambda value: 0 <= value < 1, "be in [0, 1)")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.Resumable):
    """One game is played for each data set and loss."""

    dataset: study.Each[Data] = ("eight-gaussians", "grid", "digits")
    data_dir: Path | None = None
    """Folder that holds mnist/, ...; the others need none."""
    loss: study.Each[Loss] = ("non-saturating",)
    penalty: Penalty = "r1"
    """What keeps the critic smooth; without it image networks use batch normalization."""
    penalty_weight: study.NotNegative | None = None
    """Of r1: 0.03 in the plane and 0.1 for images; of wgan-gp and wgan-lp: 10."""
    network: Literal["mlp", "dcgan"] | None = None
    """Of images: mlp for digits and dcgan for larger ones if not given; of points always mlp."""
    conditional: bool = False
    """Give generator and critic the class; for images."""
    critic_steps: study.Count = 1
    """Steps of the critic for one of the generator."""
    steps: study.Count | None = None
    """Of the generator; 10,000, and for larger images than the digits 3,000."""
    batch_size: study.Count | None = None
    """256 in the plane and 64 for images."""
    learning_rate: study.Positive | None = None
    """Of the players at the start, from where it falls to zero along a cosine; 3e-3 in the plane
    and 1e-3 for images."""
    critic_learning_rate: study.Positive | None = None
    """Of the critic; that of the generator if not given: two time scales."""
    average_decay: Decay = 0.999
    """Of the moving average of the parameters, which is what is evaluated."""
    samples: study.Count = 2500
    """Drawn for the table, at least 4 of images."""

    def __post_init__(self):
        super().__post_init__()
        points = [name for name in self.dataset if name in BY_NAME]
        if len(points) < len(self.dataset) and self.samples < 4:
            raise ValueError(f"samples must be at least 4, got {self.samples}.")  # 3 neighbours
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


def compared(config: Config) -> objectives.Comparison:
    return objectives.conditional if config.conditional else objectives.data


def critic_term(config: Config, loss: str, source: Mixture | Images) -> Term:
    term = objectives.critic(compared(config), divergences.gan.BY_NAME[loss])
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
    made = objectives.generator(compared(config), divergences.gan.BY_NAME[loss])
    generator = Player(name="generator", loss=made.of("generator"), optimizer=adam(rate, steps))
    return [critic, generator]


def training_data(key: jax.Array, source: Mixture | Images) -> jax.Array:
    """Points of the mixture, or images in [-1, 1]."""
    if isinstance(source, Images):
        return jnp.asarray(2 * source.train - 1, jnp.float32)
    return source.draw(key, NUM_POINTS)


def draw(key: jax.Array, game: Game, num_samples: int, classes: int = 0) -> np.ndarray:
    """Samples; given so many classes, of one class after the other, again and again."""
    if not classes:
        return np.asarray(sample_quality.draw(key, game.generator, num_samples, lambda x: x))
    quiet = state.evaluating(game.generator)
    one = lambda pair: state.fresh(quiet).sample(pair[0], jax.nn.one_hot(pair[1], classes))
    pairs = jax.random.split(key, num_samples), jnp.arange(num_samples) % classes
    return np.asarray(jax.jit(lambda pairs: jax.lax.map(one, pairs, batch_size=500))(pairs))


@functools.cache
def load(name: str, data_dir: Path | None) -> Mixture | Images:
    return BY_NAME[name] if name in BY_NAME else grey.load_images(name, data_dir)


def plan(config: Config, source: Mixture | Images, steps: int, given: int, directory: Path) -> Plan:
    """Samples are kept at each look, on the disk: the run may be resumed from between two looks."""
    every, is_plane = max(steps // LOOKS, 1), isinstance(source, Mixture)

    def look(game: Game) -> float:
        """The step: the later model is the better one, since the last one is wanted."""
        past, _ = run_log.read_metrics(directory / "metrics.jsonl").get("seconds", ([0], []))
        step = int(past[-1]) + every
        np.save(
            directory / f"samples-{step}.npy",
            draw(config.key, game, 5000 if is_plane else 10, given),
        )
        return step

    return Plan(
        num_rounds=steps - steps % every,
        batch_size=config.batch_size or (256 if is_plane else 64),
        average_decay=config.average_decay,
        rounds_per_call=every,
        validation=Validation(look, every),
    )


def variant(config: Config, name: str, loss: str) -> study.Variant:
    source = load(name, config.data_dir)
    is_small = isinstance(source, Mixture) or source.train.shape[1] == 8
    steps = config.steps or (10_000 if is_small else 3_000)
    given = num_classes(source) if config.conditional else 0
    x: Any = training_data(config.key, source)
    if isinstance(source, Images) and given:
        x = (x, jax.nn.one_hot(source.labels[0], given))
    return study.Variant(
        name=f"{name}-{loss}",
        row={"dataset": name, "loss": loss},
        build=lambda: build(config, source),
        players=players(config, loss, source, steps),
        data=x,
        plan=lambda directory: plan(config, source, steps, given, directory),
    )


def judge(config: Config, source: Images, directory: Path) -> tuple[classifier.Classifier, Any]:
    """The classifier that judges samples, and the figures of the training images themselves."""
    train_labels, test_labels = source.labels
    found = classifier.train(config.key, source.train, train_labels, directory=directory)
    accuracy = classifier.accuracy(found, source.test, test_labels)
    quality = sample_quality.of_images(found, source.train[: config.samples], source.test)
    return found, {"classifier_accuracy": accuracy, **quality._asdict()}


def evaluate(config: Config, judges: dict[str, Any], result: study.Result) -> dict[str, Any]:
    """What the samples cover, and how the game stood at its end."""
    name, game = result.row["dataset"], result.model
    source = load(name, config.data_dir)
    if not result.history:
        judges[name], figures = result.model
        return figures
    last = {metric: float(values[-1]) for metric, (_, values) in result.history.items()}
    figures: dict[str, Any] = {
        "data_accuracy": last[f"critic/{compared(config).name}_accuracy"],
        "data_gradient_norm": last[f"generator/{compared(config).name}_gradient_norm"],
    }
    if isinstance(source, Mixture):
        samples = draw(config.key, game, config.samples)
        quality = sample_quality.modes(samples, source.centres, source.scale)
        return quality._asdict() | figures | {"modes": len(source.centres)}
    given = num_classes(source) if config.conditional else 0
    images = (draw(config.key, game, config.samples, given) + 1) / 2
    if given:
        seen = np.argmax(classifier.seen(judges[name], images)[1], axis=1)
        figures["agreement"] = float(np.mean(seen == np.arange(len(seen)) % given))
    return sample_quality.of_images(judges[name], images, source.test)._asdict() | figures


def over_time(result: study.Result) -> dict[str, np.ndarray]:
    steps = result.history["validation"][0]
    return {f"step {step}": np.load(result.directory / f"samples-{step}.npy") for step in steps}


def save_pictures(config: Config, out: Path, found: Sequence[study.Result]) -> None:
    """Samples over time: histograms in the plane, beside the data's; a row of images a look."""
    for name in config.dataset:
        source = load(name, config.data_dir)
        looks = {
            r.row["loss"]: over_time(r) for r in found if r.row["dataset"] == name and r.history
        }
        if isinstance(source, Images):
            for loss, shown in looks.items():
                images = (np.concatenate(list(shown.values())) + 1) / 2
                pictures.save_samples(out / f"{name}-{loss}.png", images, columns=10)
            continue
        reach = 1.25 * float(np.max(source.centres))
        square = [[-reach, reach]] * 2
        density = lambda x, square=square: (
            np.histogram2d(*x.T[::-1], bins=60, range=square)[0] ** 0.5
        )
        data = {"data": density(np.asarray(training_data(jax.random.key(0), source))[:5000])}
        rows = {
            loss: data | {k: density(x) for k, x in shown.items()} for loss, shown in looks.items()
        }
        pictures.save_fields(
            out / f"{name}.png", rows, dict.fromkeys(rows, (-reach, reach, -reach, reach))
        )


POINTS = {
    "data": "{dataset}",
    "loss": "{loss}",
    "modes": "{covered} of {modes}",
    "high quality": "{high_quality:.1%}",
    "rarest mode": "{smallest_share:.2%}",
    "training": "{train_seconds:.0f} s",
}
IMAGES = {
    "data": "{dataset}",
    "loss": "{loss}",
    "classifier": "{classifier_accuracy:.1%}",
    "Fréchet": "{frechet:.2f}",
    "MODE": "{mode_score:.2f}",
    "IS": "{inception_score:.2f}",
    "precision": "{precision:.2f}",
    "recall": "{recall:.2f}",
    "training": "{train_seconds:.0f} s",
}


def experiment(config: Config) -> study.Study:
    judges: dict[str, Any] = {}  # by data set
    variants = []
    for name in config.dataset:
        source = load(name, config.data_dir)
        if isinstance(source, Images):
            row = {"dataset": name, "loss": "(training images)"}
            judged = functools.partial(judge, config, source)
            judged = study.Computation(name=f"{name}-classifier", row=row, compute=judged)
            variants.append(judged)
        variants += [variant(config, name, loss) for loss in config.loss]
    of_class = {"class": "{agreement:.1%}"} if config.conditional else {}
    having = lambda figure: lambda rows: [row for row in rows if figure in row]
    of_points = "2-D mixtures: samples within three deviations of a mode"
    of_images = "images, seen by a classifier of so many right answers"
    return study.Study(
        variants=variants,
        measure=lambda result: evaluate(config, judges, result),
        draw=lambda out, found: save_pictures(config, out, found),
        tables=[
            study.Table(of_points, POINTS, having("modes")),
            study.Table(of_images, IMAGES | of_class, having("mode_score")),
        ],
        facts={"samples": config.samples},
        units="shares of 1; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("gan", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
