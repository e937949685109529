"""InfoGANs, whose codes say what is drawn, and how much they say: python -m experiments.info_gan.

The generator minimises the loss of the game - w * (H(c) + E log q(c | x)) for each code c. For
images larger than the digits the networks are the paper's: batch normalization, and codes that are
read from the critic's features, so that the critic's player has the same bounds in its loss.
Defaults train on eight Gaussians and on digits in a few minutes on two CPU cores.

Source: Chen et al. (2016), arXiv:1606.03657.
"""

import dataclasses
import functools
import math
import operator
import time
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from rich.console import Console
from rich.table import Table
from sklearn.neighbors import KNeighborsClassifier

from genmix import divergences
from genmix.data import grey, mixtures
from genmix.data.grey import Images
from genmix.data.mixtures import Mixture
from genmix.evaluation import classifier, clustering, pictures, sample_quality
from genmix.families import Implicit, Independent, Normal, OneHot, StandardNormal, Uniform
from genmix.nets import MLP, DCGANCritic, DCGANGenerator, Joined, state
from genmix.objectives import adversarial, comparison, information
from genmix.runs import command_line, run_directory
from genmix.training import Fit, Game, Plan, Player, fit

Data = Literal["eight-gaussians", "digits", "mnist", "fashion-mnist"]
NUM_POINTS = 2**16  # drawn of a mixture for training
HIDDEN = 256  # units beside the convolutions
NEIGHBOURS = 25  # samples whose classes name an image


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """A code is a class; images have continuous codes too."""

    dataset: tuple[Data, ...] = ("eight-gaussians", "digits")
    data_dir: Path | None = None
    """Folder that holds mnist/, ...; the others need none."""
    classes: int | None = None
    """Values of the class, at least 2; as many as the data have if not given."""
    styles: int = 2
    """Continuous codes of images, uniform on [-1, 1]."""
    class_weight: float | None = None
    """Of the bound on the information in the class; 1 for images larger than the digits, else 5."""
    style_weight: float | None = None
    """Of the bound on the information in the continuous codes; 0.1 for them, else 0.02."""
    steps: int = 5000
    """Of the generator, and as many of the critic."""
    batch_size: int | None = None
    """256 in the plane and 64 for images."""
    learning_rate: float | None = None
    """3e-3 in the plane, from where it falls to zero along a cosine; constant for images, 1e-3, and
    a fifth of it for the critic of large ones."""
    samples: int = 5000
    """Drawn for the table, at least 4 of images."""
    seed: int = 0
    out: Path | None = None
    """Directory of the run; runs/info_gan/TIME if not given."""
    resume: bool = False
    """Go on with the run in --out, bit for bit."""

    def __post_init__(self):
        has_images = any(name not in mixtures.BY_NAME for name in self.dataset)
        command_line.require(
            self,
            counts=("styles", "steps", "batch_size", "samples"),
            positive=("learning_rate",),
            names=("dataset",),
            at_least={"classes": 2, "samples": 4 if has_images else 1},  # for 3 neighbours
        )
        for name in ("class_weight", "style_weight"):
            if not 0 <= (getattr(self, name) or 0.0) < math.inf:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}.")


class OnFeatures(nnx.Module):
    """A network on what the critic sees in an image."""

    def __init__(self, critic: DCGANCritic, network: MLP):
        self.critic = critic
        self.network = network

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.network(self.critic.features(x))


def on_features(game: Game) -> bool:
    """Whether the networks for q of each code are of the critic's features, or of the image."""
    return isinstance(game.critic, DCGANCritic)


def of_image(game: Game, network: Any) -> Any:
    """A predictor as a function of the image."""
    return OnFeatures(game.critic, network) if on_features(game) else network


def category_of(game: Game) -> OneHot:
    """q(class | x)."""
    return OneHot(of_image(game, game.category))


def style_of(game: Game) -> Normal:
    """q(style | x).

    On features its scale is at least 1: styles that are told ever more exactly become specks.
    """
    return Normal(of_image(game, game.style), min_scale=1.0 if on_features(game) else 0.1)


def load(name: str, config: Config) -> Mixture | Images:
    if name in mixtures.BY_NAME:
        return mixtures.BY_NAME[name]
    return grey.load_images(name, config.data_dir)


def batch_size(config: Config, name: str) -> int:
    return config.batch_size or (256 if name in mixtures.BY_NAME else 64)


def check(config: Config, name: str) -> None:
    """Refuse data that are not there or do not fill a batch, so that nothing is written."""
    source = load(name, config)
    size = NUM_POINTS if isinstance(source, Mixture) else len(source.train)
    command_line.require_batch(batch_size(config, name), size, name)


def is_large(source: Mixture | Images) -> bool:
    return isinstance(source, Images) and source.train.shape[1] > 8


def num_classes(config: Config, source: Mixture | Images) -> int:
    if config.classes is not None:
        return config.classes
    return len(source.centres) if isinstance(source, Mixture) else int(source.labels[0].max()) + 1


def build(config: Config, source: Mixture | Images) -> Game:
    """A generator of (noise, class, style), a critic, and a network for q of each code."""
    rngs, classes = nnx.Rngs(config.seed), num_classes(config, source)
    relu: dict[str, Any] = {"activation": jax.nn.relu, "rngs": rngs}
    category = OneHot(lambda _: jnp.zeros(classes), classes)
    if isinstance(source, Mixture):
        base = Independent((StandardNormal(2), category))
        network = Joined(MLP(2 + classes, (128, 128), 2, **relu))
        return Game(
            generator=Implicit(base, network),
            critic=MLP(2, (128, 128), 1, **relu),
            category=MLP(2, (128, 128), classes, **relu),
        )
    shape, noise = source.train.shape[1:], 62 if is_large(source) else 32
    base = Independent((StandardNormal(noise), category, Uniform(config.styles)))
    size = noise + classes + config.styles
    if not is_large(source):
        network = nnx.Sequential(MLP(size, (256, 256), shape, **relu), jnp.tanh)
        critic = MLP(shape, (256, 256), 1, **relu)
        encoder = functools.partial(MLP, shape, (256,), **relu)
        style = encoder(config.styles, num_outputs=2)
        generator = Implicit(base, Joined(network))
        return Game(generator=generator, critic=critic, category=encoder(classes), style=style)
    network = DCGANGenerator(size, (128, 64), shape, hidden=HIDDEN, rngs=rngs)
    critic = DCGANCritic(shape, (64, 128), hidden=HIDDEN, rngs=rngs)
    head = functools.partial(MLP, HIDDEN, (128,), **relu)
    style, generator = head(config.styles, num_outputs=2), Implicit(base, Joined(network))
    return Game(generator=generator, critic=critic, category=head(classes), style=style)


def code_terms(config: Config, game: Game) -> dict[str, tuple[float, Any, float]]:
    """Weight, term and entropy of each code."""
    classes = game.generator.base.parts[1].mean().size
    given = lambda weight, large, small: (
        (large if on_features(game) else small) if weight is None else weight
    )
    weight = given(config.class_weight, 1.0, 5.0)
    terms: dict[str, Any] = {"class": (weight, 1, math.log(classes), category_of)}
    if hasattr(game, "style"):
        weight, entropy = given(config.style_weight, 0.1, 0.02), config.styles * math.log(2.0)
        terms["style"] = (weight, 2, entropy, style_of)

    def term(name: str, place: int, entropy: float, by: Any) -> Any:
        code = lambda z: z[place]
        return information.barber_agakov(name, code, entropy, by=by).of("generator")

    return {
        name: (weight, term(name, place, entropy, by), entropy)
        for name, (weight, place, entropy, by) in terms.items()
    }


def players(config: Config, source: Mixture | Images, game: Game) -> list[Player]:
    is_plane = isinstance(source, Mixture)
    rate = config.learning_rate or (3e-3 if is_plane else 1e-3)
    losses = divergences.gan.non_saturating
    codes = [weight * term for weight, term, _ in code_terms(config, game).values()]
    told, predictors = functools.reduce(operator.add, codes), ("category", "style")

    def player(name: str, owns: tuple[str, ...], loss: Any, rate: float) -> Player:
        learning_rate = optax.cosine_decay_schedule(rate, config.steps) if is_plane else rate
        optimizer = optax.adam(learning_rate, b1=0.5, b2=0.999 if on_features(game) else 0.99)
        owns = tuple(part for part in owns if hasattr(game, part))
        return Player(name=name, owns=owns, loss=loss, optimizer=optimizer)

    of_critic: Any = adversarial.critic(comparison.data, losses).of("generator")
    of_generator: Any = adversarial.generator(comparison.data, losses).of("generator")
    if on_features(game):
        return [
            player("critic", ("critic", *predictors), of_critic + told, rate / 5),
            player("generator", ("generator",), of_generator + told, rate),
        ]
    smooth = (0.03 if is_plane else 0.1) * adversarial.r1(comparison.data).of("generator")
    return [
        player("critic", ("critic",), of_critic + smooth, rate),
        player("generator", ("generator", *predictors), of_generator + told, rate),
    ]


def train(config: Config, name: str, source: Mixture | Images, directory: Path) -> Fit:
    game = build(config, source)
    if isinstance(source, Mixture):
        x = source.draw(jax.random.key(config.seed + 1), NUM_POINTS)
    else:
        x = jnp.asarray(2 * source.train - 1, jnp.float32)
    plan = Plan(
        num_rounds=config.steps,
        batch_size=batch_size(config, name),
        average_decay=None if is_large(source) else 0.999,
        rounds_per_call=max(config.steps // 20, 1),
        directory=directory,
        resume=config.resume,
        label=name,
    )
    return fit(jax.random.key(config.seed), game, players(config, source, game), x, plan)


@jax.jit
def draw(keys: jax.Array, game: Game) -> tuple[jax.Array, jax.Array]:
    """Classes that were asked for, and what came."""

    def one(key):
        z = game.generator.base.sample(key)
        return jnp.argmax(z[1]), game.generator.network(z)

    return jax.lax.map(one, keys, batch_size=500)


def of_nearest(x: np.ndarray, samples: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """For each image the code that most of its nearest samples were drawn with.

    A posterior of the code that needs no network, so that it shows what the generator knows even
    where q, which has seen samples only, is wrong about images.
    """
    rows = lambda x: np.reshape(x, (len(x), -1))
    nearest = KNeighborsClassifier(min(NEIGHBOURS, len(codes)))
    return nearest.fit(rows(samples), codes).predict(rows(x))


def evaluate(
    config: Config, game: Game, source: Mixture | Images, judge: classifier.Classifier | None
) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Figures, informations in nats; samples with their classes."""
    bound_key, draw_key = jax.random.split(jax.random.key(config.seed + 2))
    figures: dict[str, Any] = {}
    events = jnp.zeros((config.samples, 1))  # only their number counts
    for name, (_, term, entropy) in code_terms(config, game).items():
        value, _ = jax.jit(term)(game, jax.random.fold_in(bound_key, len(name)), events, ())
        figures |= {f"{name}_information": -float(value), f"{name}_entropy": entropy}
    codes, x = map(np.asarray, draw(jax.random.split(draw_key, config.samples), game))
    if isinstance(source, Mixture):
        quality = sample_quality.modes(x, source.centres, source.scale)
        nearest = np.argmin(np.linalg.norm(x[:, None] - source.centres[None], axis=-1), axis=1)
        figures |= {"modes": len(source.centres), "purity": clustering.purity(codes, nearest)}
    else:
        assert judge is not None
        images = (x + 1) / 2
        seen = np.argmax(classifier.seen(judge, images)[1], axis=1)
        likeliest = lambda x: jnp.argmax(category_of(game).mean(2 * x - 1))
        predict = jax.jit(lambda x: jax.lax.map(likeliest, x, batch_size=500))
        (train_labels, test_labels), sets = source.labels, (source.train, source.test)
        error = lambda train, test: clustering.error(train, train_labels, test, test_labels)
        figures |= {
            "purity": clustering.purity(codes, seen),
            "test_error": error(*[np.asarray(predict(jnp.asarray(x))) for x in sets]),
            "nearest_error": error(*[of_nearest(x, images, codes) for x in sets]),
        }
        quality = sample_quality.of_images(judge, images, source.test)
    return quality._asdict() | figures, codes, x


def traversals(config: Config, game: Game) -> np.ndarray:
    """Images in rows: all classes with the noise of the row; then each style from -2 to 2.

    Rows are as long as there are classes, or ten where those are fewer.
    """
    key = jax.random.key(config.seed)
    some_noise, some_class, _ = game.generator.base.sample(jax.random.clone(key))
    noise = jax.random.normal(key, (4, len(some_noise)))
    classes = len(some_class)
    columns = max(classes, 10)
    one_hot = lambda i: jax.nn.one_hot(i % classes, classes)
    image = jax.jit(jax.vmap(lambda *z: game.generator.network(z), in_axes=(None, 0, 0)))
    every, stills = one_hot(jnp.arange(columns)), jnp.zeros((columns, config.styles))
    rows = [image(n, every, stills) for n in noise]
    for j in range(config.styles):
        for n, i in zip(noise[:2], (0, 1), strict=True):
            moved = stills.at[:, j].set(jnp.linspace(-2.0, 2.0, columns))
            rows.append(image(n, jnp.tile(one_hot(i), (columns, 1)), moved))
    return (np.stack(rows) + 1) / 2


def run(config: Config, name: str, out: Path) -> dict[str, Any]:
    source, judge = load(name, config), None
    figures: dict[str, Any] = {"dataset": name}
    if isinstance(source, Images):
        key, directory = jax.random.key(config.seed), out / f"{name}-classifier"
        judge = classifier.train(key, source.train, source.labels[0], directory=directory)
        accuracy = classifier.accuracy(judge, source.test, source.labels[1])
        figures["classifier_accuracy"] = accuracy
    trained = train(config, name, source, out / name)
    game = state.evaluating(trained.model)
    more, codes, x = evaluate(config, game, source, judge)
    if isinstance(source, Mixture):
        save = pictures.save_scatter
        save(out / f"{name}.png", x[:2000], codes[:2000], x_label="x", y_label="y")
    else:
        rows = traversals(config, game)
        images = rows.reshape(-1, *rows.shape[2:])
        pictures.save_samples(out / f"{name}.png", images, columns=rows.shape[1])
    return figures | more | {"train_seconds": trained.seconds}


def print_table(rows: list[dict[str, Any]]) -> None:
    names = ("class: I / H", "styles: I / H", "purity", "error: q / nearest", "quality", "s")
    title = "lower bounds I on the information of codes and samples beside H of the code, in nats"
    table = Table("data", *names, title=title)
    for row in rows:
        quality = f"MODE {row['mode_score']:.2f}" if "mode_score" in row else (
            f"{row['covered']} modes, {row['high_quality']:.1%}"
        )  # fmt: skip
        table.add_row(
            row["dataset"],
            *[
                " / ".join(
                    format(row[f"{code}_{name}"], ".3f")
                    for name in ("information", "entropy")
                    if f"{code}_{name}" in row
                )
                for code in ("class", "style")
            ],
            f"{row['purity']:.1%}",
            " / ".join(format(row[k], ".1%") for k in ("test_error", "nearest_error") if k in row),
            quality,
            f"{row['train_seconds']:.0f}",
        )
    Console().print(table)
    Console().print(
        "purity: samples of one code that are of its most frequent class or mode; error: test "
        "images whose class is not that of their code in training, where the code is the one "
        f"predicted by q, or that of most of the {NEIGHBOURS} nearest samples"
    )


def main(config: Config) -> list[dict[str, Any]]:
    start = time.perf_counter()
    for name in config.dataset:
        check(config, name)
    out = run_directory.begin("info_gan", config)
    with run_directory.locked(out):
        rows = [run(config, name, out) for name in config.dataset]
    print_table(rows)
    run_directory.write_results(
        out, start, units="nats; shares of 1; seconds", rows=rows, seed=config.seed
    )
    print(f"pictures and figures: {out}")
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
