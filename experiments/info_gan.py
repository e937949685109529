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
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments import games, study
from genmix import divergences, objectives
from genmix.evaluation import clustering, latent_pictures, pictures
from genmix.families import Implicit, Independent, Normal, OneHot, StandardNormal, Uniform
from genmix.nets import MLP, DCGANCritic, Joined, OnFeatures, state
from genmix.objectives import Term
from genmix.runs import command_line
from genmix.training import Game, Player

Data = Literal["eight-gaussians", "digits", "mnist", "fashion-mnist"]
HIDDEN = 256  # units beside the convolutions
NEIGHBOURS = 25  # samples whose classes name an image


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(games.Config):
    """A code is a class; images have continuous codes too."""

    dataset: study.Each[Data] = ("eight-gaussians", "digits")
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
    learning_rate: study.Positive | None = None
    """3e-3 in the plane, from where it falls to zero along a cosine; constant for images, 1e-3, and
    a fifth of it for the critic of large ones."""
    samples: study.Judged = 5000


def category_of(game: Game) -> OneHot:
    """q(class | x)."""
    is_large = isinstance(game.critic, DCGANCritic)
    return OneHot(OnFeatures(game.critic, game.category) if is_large else game.category)


def style_of(game: Game) -> Normal:
    """q(style | x).

    On features its scale is at least 1: styles that are told ever more exactly become specks.
    """
    if isinstance(game.critic, DCGANCritic):
        return Normal(OnFeatures(game.critic, game.style), min_scale=1.0)
    return Normal(game.style, min_scale=0.1)


class Code(NamedTuple):
    """What the generator tells by its samples."""

    weight: float
    entropy: float
    term: Term  # its information is at least what this reports


def codes(config: Config, source: games.Source) -> dict[str, Code]:
    """The class; of images the styles, too."""

    def code(name: str, place: int, weight: float, entropy: float, by: Any) -> Code:
        term = objectives.barber_agakov(name, lambda z: z[place], entropy, by=by)
        return Code(weight, entropy, term.of("generator"))

    is_large = source.recipe is games.LARGE
    given = lambda weight, usual: usual if weight is None else weight
    weight = given(config.class_weight, 1.0 if is_large else 5.0)
    entropy = math.log(config.classes or source.num_classes)
    found = {"class": code("class", 1, weight, entropy, category_of)}
    if isinstance(source, games.Pictures):
        weight = given(config.style_weight, 0.1 if is_large else 0.02)
        found["style"] = code("style", 2, weight, config.styles * math.log(2.0), style_of)
    return found


def build(config: Config, source: games.Source) -> Game:
    """A generator of (noise, class, style), a critic, and a network for q of each code."""
    rngs, classes = nnx.Rngs(config.seed), config.classes or source.num_classes
    has_styles, is_large = isinstance(source, games.Pictures), source.recipe is games.LARGE
    noise, styles = 62 if is_large else source.recipe.noise, config.styles if has_styles else 0
    network, critic = games.networks(
        source.recipe.network, noise + classes + styles, source.shape, hidden=HIDDEN, rngs=rngs
    )
    seen, widths = (
        (HIDDEN, (128,)) if is_large else (source.shape, (256,) if styles else (128, 128))
    )
    head = functools.partial(MLP, seen, widths, activation=jax.nn.relu, rngs=rngs)
    told = {"style": head(styles, num_outputs=2)} if has_styles else {}
    told["category"] = head(classes)
    category = OneHot(lambda _: jnp.zeros(classes), classes)
    parts = StandardNormal(noise), category, *((Uniform(styles),) if has_styles else ())
    return Game(generator=Implicit(Independent(parts), Joined(network)), critic=critic, **told)


def players(config: Config, source: games.Source) -> list[Player]:
    losses, recipe = divergences.gan.non_saturating, source.recipe
    rate, is_large = config.learning_rate or recipe.learning_rate, recipe is games.LARGE
    found = codes(config, source)
    told = functools.reduce(operator.add, [code.weight * code.term for code in found.values()])
    predictors = ("category", "style")[: len(found)]
    of_critic = objectives.critic(objectives.data, losses).of("generator")
    of_generator = objectives.generator(objectives.data, losses).of("generator") + told
    if is_large:  # whose codes are read from what the critic sees
        of_critic, slower = of_critic + told, rate / 5
        owns = ("critic", *predictors), ("generator",)
    else:
        of_critic += recipe.r1 * objectives.r1(objectives.data).of("generator")
        owns, slower = (("critic",), ("generator", *predictors)), rate

    def adam(rate: float) -> optax.GradientTransformation:
        falls = isinstance(source, games.Points)
        schedule = optax.cosine_decay_schedule(rate, config.steps) if falls else rate
        return optax.adam(schedule, b1=0.5, b2=0.999 if is_large else 0.99)

    return [
        Player(name="critic", owns=owns[0], loss=of_critic, optimizer=adam(slower)),
        Player(name="generator", owns=owns[1], loss=of_generator, optimizer=adam(rate)),
    ]


@jax.jit
def draw(keys: jax.Array, game: Game) -> tuple[jax.Array, jax.Array]:
    """Classes that were asked for, and what came."""

    def one(key):
        z = game.generator.base.sample(key)
        return jnp.argmax(z[1]), game.generator.network(z)

    return jax.lax.map(one, keys, batch_size=500)


def evaluate(config: Config, source: games.Source, result: study.Result) -> dict[str, Any]:
    """Figures, informations in nats; and a picture of samples with their classes, or in rows."""
    game, path = state.evaluating(result.model), result.out / f"{result.name}.png"
    bound_key, draw_key = jax.random.split(jax.random.key(config.seed + 2))
    figures: dict[str, Any] = {}
    events = jnp.zeros((config.samples, 1))  # only their number counts
    for name, code in codes(config, source).items():
        value, _ = jax.jit(code.term)(game, jax.random.fold_in(bound_key, len(name)), events, ())
        figures |= {f"{name}_information": -float(value), f"{name}_entropy": code.entropy}
    asked, samples = draw(jax.random.split(draw_key, config.samples), game)
    asked = np.asarray(asked)
    figures |= source.quality(result.out, samples)
    figures["purity"] = clustering.purity(asked, source.classes(result.out, samples))
    if isinstance(source, games.Points):
        pictures.save_scatter(path, samples[:2000], asked[:2000], x_label="x", y_label="y")
        return figures
    pictures.save_grid(path, traversals(config, game))
    likeliest = lambda x: jnp.argmax(category_of(game).mean(2 * x - 1))
    predict = jax.jit(lambda x: jax.lax.map(likeliest, x, batch_size=500))
    images, sets = (np.asarray(samples) + 1) / 2, (source.images.train, source.images.test)
    nearest = [clustering.of_nearest(x, images, asked, num_neighbours=NEIGHBOURS) for x in sets]
    predicted = [np.asarray(predict(jnp.asarray(x))) for x in sets]
    train_labels, test_labels = source.images.labels
    error = lambda train, test: clustering.error(train, train_labels, test, test_labels)
    return figures | {
        "classifier_accuracy": source.judge(result.out).accuracy,
        "test_error": error(*predicted),
        "nearest_error": error(*nearest),
    }


def traversals(config: Config, game: Game) -> np.ndarray:
    """Images in rows: all classes with the noise of the row; then each style from -2 to 2.

    Rows are as long as there are classes, or ten where those are fewer.
    """
    some_noise, some_class, _ = game.generator.base.sample(config.key)
    noise, classes = jax.random.normal(config.key, (4, len(some_noise))), len(some_class)
    columns = max(classes, 10)
    every = jax.nn.one_hot(jnp.arange(columns) % classes, classes)
    still, image = jnp.zeros((columns, config.styles)), game.generator.network
    rows = [latent_pictures.grid(lambda noise, told: image((noise, *told)), noise, (every, still))]
    for j in range(config.styles):
        moved = still.at[:, j].set(jnp.linspace(-2.0, 2.0, columns))
        of_row = lambda row, style: image((*row, style))
        rows.append(latent_pictures.grid(of_row, (noise[:2], every[:2]), moved))
    return (np.concatenate(rows) + 1) / 2


def experiment(config: Config) -> study.Study:
    data = {name: config.source(name) for name in config.dataset}

    def variant(name: str, source: games.Source) -> study.Variant:
        return study.Variant(
            name=name,
            row={"dataset": name},
            build=lambda: build(config, source),
            players=players(config, source),
            data=source.events(jax.random.key(config.seed + 1)),
            plan=study.plan(
                config.steps,
                config.batch_size or source.recipe.batch_size,
                reports=20,
                average_decay=None if source.recipe is games.LARGE else 0.999,
            ),
        )

    both = lambda name: study.known(f"{{{name}_information:.3f}} / {{{name}_entropy:.3f}}")
    columns: dict[str, study.Column] = {
        "data": "{dataset}",
        "class: I / H": both("class"),
        "styles: I / H": both("style"),
        "purity": "{purity:.1%}",
        "error: q / nearest": study.known("{test_error:.1%} / {nearest_error:.1%}"),
        "quality": study.known("MODE {mode_score:.2f}", "{covered} modes, {high_quality:.1%}"),
        "s": "{train_seconds:.0f}",
    }
    title = "lower bounds I on the information of codes and samples beside H of the code, in nats"
    note = (
        "purity: samples of one code that are of its most frequent class or mode; error: test "
        "images whose class is not that of their code in training, where the code is the one "
        f"predicted by q, or that of most of the {NEIGHBOURS} nearest samples"
    )
    return study.Study(
        variants=[variant(name, source) for name, source in data.items()],
        measure=lambda result: evaluate(config, data[result.name], result),
        tables=[study.Table(title, columns)],
        note=note,
        units="nats; shares of 1; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("info_gan", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
