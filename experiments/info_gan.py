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
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.neighbors import KNeighborsClassifier

from experiments import study
from genmix import divergences, objectives
from genmix.data import grey, mixtures
from genmix.data.grey import Images
from genmix.data.mixtures import Mixture
from genmix.evaluation import classifier, clustering, pictures, sample_quality
from genmix.families import Implicit, Independent, Normal, OneHot, StandardNormal, Uniform
from genmix.nets import MLP, DCGANCritic, DCGANGenerator, Joined, state
from genmix.runs import command_line
from genmix.training import Game, Plan, Player

Data = Literal["eight-gaussians", "digits", "mnist", "fashion-mnist"]
NUM_POINTS = 2**16  # drawn of a mixture for training
HIDDEN = 256  # units beside the convolutions
NEIGHBOURS = 25  # samples whose classes name an image


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.Resumable):
    """A code is a class; images have continuous codes too."""

    dataset: study.Each[Data] = ("eight-gaussians", "digits")
    data_dir: Path | None = None
    """Folder that holds mnist/, ...; the others need none."""
    classes: Annotated[int, study.at_least(2)] | None = None
    """Values of the class; as many as the data have if not given."""
    styles: study.Count = 2
    """Continuous codes of images, uniform on [-1, 1]."""
    class_weight: study.NotNegative | None = None
    """Of the bound on the information in the class; 1 for images larger than the digits, else 5."""
    style_weight: study.NotNegative | None = None
    """Of the bound on the information in the continuous codes; 0.1 for them, else 0.02."""
    steps: study.Count = 5000
    """Of the generator, and as many of the critic."""
    batch_size: study.Count | None = None
    """256 in the plane and 64 for images."""
    learning_rate: study.Positive | None = None
    """3e-3 in the plane, from where it falls to zero along a cosine; constant for images, 1e-3, and
    a fifth of it for the critic of large ones."""
    samples: study.Count = 5000
    """Drawn for the table, at least 4 of images."""

    def __post_init__(self):
        super().__post_init__()
        has_images = any(name not in mixtures.BY_NAME for name in self.dataset)
        if has_images and self.samples < 4:  # for 3 neighbours
            raise ValueError(f"samples must be at least 4, got {self.samples}.")


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
        return objectives.barber_agakov(name, code, entropy, by=by).of("generator")

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

    of_critic: Any = objectives.critic(objectives.data, losses).of("generator")
    of_generator: Any = objectives.generator(objectives.data, losses).of("generator")
    if on_features(game):
        return [
            player("critic", ("critic", *predictors), of_critic + told, rate / 5),
            player("generator", ("generator",), of_generator + told, rate),
        ]
    smooth = (0.03 if is_plane else 0.1) * objectives.r1(objectives.data).of("generator")
    return [
        player("critic", ("critic",), of_critic + smooth, rate),
        player("generator", ("generator", *predictors), of_generator + told, rate),
    ]


def variant(config: Config, name: str, source: Mixture | Images) -> study.Variant:
    game, is_plane = build(config, source), isinstance(source, Mixture)
    if isinstance(source, Mixture):
        x = source.draw(jax.random.key(config.seed + 1), NUM_POINTS)
    else:
        x = np.asarray(2 * source.train - 1, np.float32)
    plan = Plan(
        num_rounds=config.steps,
        batch_size=config.batch_size or (256 if is_plane else 64),
        average_decay=None if is_large(source) else 0.999,
        rounds_per_call=max(config.steps // 20, 1),
    )
    return study.Variant(
        name=name,
        row={"dataset": name},
        build=lambda: game,
        players=players(config, source, game),
        data=x,
        plan=plan,
    )


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


def evaluate(config: Config, source: Mixture | Images, result: study.Result) -> dict[str, Any]:
    """Figures, informations in nats; and a picture of samples with their classes, or in rows."""
    game, path = state.evaluating(result.model), result.out / f"{result.name}.png"
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
        pictures.save_scatter(path, x[:2000], codes[:2000], x_label="x", y_label="y")
        figures |= {"modes": len(source.centres), "purity": clustering.purity(codes, nearest)}
    else:
        judge = study.judge_of(config, source, f"{result.name}-classifier")(result.out)
        rows, images = traversals(config, game), (x + 1) / 2
        pictures.save_samples(path, rows.reshape(-1, *rows.shape[2:]), columns=rows.shape[1])
        seen = np.argmax(classifier.seen(judge.classifier, images)[1], axis=1)
        likeliest = lambda x: jnp.argmax(category_of(game).mean(2 * x - 1))
        predict = jax.jit(lambda x: jax.lax.map(likeliest, x, batch_size=500))
        (train_labels, test_labels), sets = source.labels, (source.train, source.test)
        error = lambda train, test: clustering.error(train, train_labels, test, test_labels)
        figures |= {
            "classifier_accuracy": judge.accuracy,
            "purity": clustering.purity(codes, seen),
            "test_error": error(*[np.asarray(predict(jnp.asarray(x))) for x in sets]),
            "nearest_error": error(*[of_nearest(x, images, codes) for x in sets]),
        }
        quality = sample_quality.of_images(judge.classifier, images, source.test)
    return quality._asdict() | figures


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


def of_both(form: str, *names: str) -> study.Column:
    """Those of the figures that a row has."""
    return lambda row: " / ".join(format(row[name], form) for name in names if name in row)


def quality(row: study.Row) -> str:
    if "mode_score" in row:
        return f"MODE {row['mode_score']:.2f}"
    return f"{row['covered']} modes, {row['high_quality']:.1%}"


def experiment(config: Config) -> study.Study:
    sources = {name: load(name, config) for name in config.dataset}
    columns: dict[str, study.Column] = {
        "data": "{dataset}",
        "class: I / H": of_both(".3f", "class_information", "class_entropy"),
        "styles: I / H": of_both(".3f", "style_information", "style_entropy"),
        "purity": "{purity:.1%}",
        "error: q / nearest": of_both(".1%", "test_error", "nearest_error"),
        "quality": quality,
        "s": "{train_seconds:.0f}",
    }
    title = "lower bounds I on the information of codes and samples beside H of the code, in nats"
    note = (
        "purity: samples of one code that are of its most frequent class or mode; error: test "
        "images whose class is not that of their code in training, where the code is the one "
        f"predicted by q, or that of most of the {NEIGHBOURS} nearest samples"
    )
    return study.Study(
        variants=[variant(config, name, source) for name, source in sources.items()],
        measure=lambda result: evaluate(config, sources[result.name], result),
        tables=[study.Table(title, columns)],
        note=note,
        units="nats; shares of 1; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("info_gan", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
