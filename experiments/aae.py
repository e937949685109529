"""Adversarial autoencoders: three encoders, few labels, clusters: python -m experiments.aae.

Players move in turn, each with an optimizer of its own, so that no loss drowns another: critics of
the latents; encoder and decoder, which minimise -E log p(x | z); the encoder against the critics;
and, of labelled images, the encoder that classifies. Images are grey, a pixel given z is normal.
Defaults train on scikit-learn's digits in a few minutes on two CPU cores.

Source: Makhzani et al. (2016), arXiv:1511.05644, sections 2, 5 and 6.
"""

import dataclasses
import functools
import math
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments import study
from genmix import divergences, objectives
from genmix.data import grey
from genmix.data.grey import Images
from genmix.evaluation import clustering, pictures, sample_quality
from genmix.families import (
    Autoencoder,
    Deterministic,
    Implicit,
    Independent,
    Normal,
    OneHot,
    StandardNormal,
)
from genmix.nets import MLP, ConvEncoder, Joined, state
from genmix.objectives import Term, comparison
from genmix.runs import command_line
from genmix.training import Game, Player

Model = Literal["deterministic", "gaussian", "universal", "semi-supervised", "clustering"]
MODELS: tuple[Model, ...] = get_args(Model)
CATEGORICAL = ("semi-supervised", "clustering")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.Training):
    """The first three models are encoders; the others split z into a class and a style."""

    model: study.Each[Model] = MODELS
    dataset: Literal["digits", "mnist", "fashion-mnist"] = "digits"
    data_dir: Path | None = None
    """Folder that holds mnist/, ...; the digits need none."""
    scale: study.Positive = 0.1
    """Standard deviation of a pixel given z, for images in [0, 1]."""
    latent: study.Count = 8
    """Dimensions of z."""
    style: study.Count = 5
    """Dimensions of the style beside a class: few, so that the class is needed."""
    clusters: study.Count = 16
    """Of the clustering model."""
    labels: study.Count = 100
    """Of the semi-supervised model, as many of each class, drawn at random by the seed."""
    noise: study.Count = 8
    """Dimensions of the noise that the universal encoder is given."""
    hidden_pixels: Annotated[float, study.Rule(lambda v: 0 <= v < 1, "be in [0, 1)")] = 0.2
    """Share of pixels that are hidden in training: of labelled images, or of all in clustering."""
    hidden: study.Count | None = None
    """Width of the hidden layers; 200 for the digits, 256 for larger images."""
    batch_size: Annotated[int, study.Rule(lambda v: v >= 2, "be at least 2 for an MMD")] = 100
    samples: Annotated[int, study.at_least(4)] = 2000  # for 3 neighbours
    """Drawn for the table."""


class ClassAndStyle(nnx.Module):
    """Image -> (probabilities of the class, style).

    Logits are normalized over the batch, which is the axis named "batch": a class that is rare has
    large logits for some images all the same. Without it one whose probability is near zero for
    all of them has no gradient left, from the critic neither, and is not used again.

    Pixels are hidden from the classifier, which would know few images by heart, or always.
    """

    def __init__(self, hide: nnx.Dropout, body: Any, category: Any, style: Any, hides_always: bool):
        self.hide, self.body, self.category, self.style = hide, body, category, style
        self.hides_always = hides_always

    def logits(self, x: jax.Array) -> jax.Array:
        return self.category(jax.nn.relu(self.body(self.hide(x))))

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        h = jax.nn.relu(self.body(self.hide(x) if self.hides_always else x))
        return jax.nn.softmax(self.category(h)), self.style(h)


def build(config: Config, name: str, source: Images) -> Game:
    """An autoencoder, and a critic of its latents or of each part of them."""
    shape, rngs = source.train.shape[1:], nnx.Rngs(config.seed)
    is_small = math.prod(shape) < 500
    hidden = config.hidden or (200 if is_small else 256)
    relu: dict[str, Any] = {"activation": jax.nn.relu, "rngs": rngs}
    mlp = lambda a, b: MLP(a, (hidden, hidden), b, **relu)
    likelihood = lambda net: Normal(nnx.Sequential(net, jax.nn.sigmoid), scale=config.scale)
    if name in CATEGORICAL:
        dim = config.style
        classes = config.clusters if name == "clustering" else int(source.labels[0].max()) + 1
        if is_small:
            body: Any = MLP(shape, (hidden,), hidden, **relu)
        else:
            body = ConvEncoder(shape, (16, 32), hidden, rngs=rngs)
        category = nnx.Sequential(
            nnx.Linear(hidden, classes, use_bias=False, rngs=rngs),
            nnx.BatchNorm(classes, momentum=0.95, axis_name="batch", use_bias=False, rngs=rngs),
        )
        style = nnx.Linear(hidden, dim, rngs=rngs)
        model = Autoencoder(
            prior=Independent((OneHot(lambda _: jnp.zeros(classes), classes), StandardNormal(dim))),
            likelihood=likelihood(Joined(mlp(classes + dim, shape))),
            posterior=Deterministic(
                ClassAndStyle(
                    nnx.Dropout(config.hidden_pixels, rngs=rngs),
                    body,
                    category,
                    style,
                    hides_always=name == "clustering",
                )
            ),
        )
        return Game(autoencoder=model, critics=nnx.List([mlp(classes, 1), mlp(dim, 1)]))
    dim = config.latent
    encoders = {
        "deterministic": lambda: Deterministic(mlp(shape, dim)),
        "gaussian": lambda: Normal(mlp(shape, dim)),
        "universal": lambda: Implicit(
            StandardNormal(config.noise), Joined(mlp(config.noise + math.prod(shape), dim))
        ),
    }
    model = Autoencoder(
        prior=StandardNormal(dim),
        likelihood=likelihood(mlp(dim, shape)),
        posterior=encoders[name](),
    )
    return Game(autoencoder=model, critics=nnx.List([mlp(dim, 1)]))


def judged(name: str) -> list[objectives.Comparison]:
    """What each critic compares."""
    if name not in CATEGORICAL:
        return [objectives.latent]
    of_class = objectives.part_of(objectives.latent, "class", lambda z: z[0])
    of_style = objectives.part_of(objectives.latent, "style", lambda z: z[1])
    return [of_class, of_style]


def classification(x: jax.Array, labels: jax.Array, batch_size: int) -> Term:
    """Cross-entropy of labelled images, of which a batch is drawn for each step."""

    def loss(game: Game, key: jax.Array, batch: Any, carry: Any) -> Any:
        del batch
        choice_key, network_key = jax.random.split(key)
        chosen = jax.random.randint(choice_key, (batch_size,), 0, len(x))

        def log_q(encoder: Any, _: Any, pair: tuple[jax.Array, jax.Array]) -> jax.Array:
            return OneHot(encoder.logits, pair[1].size).log_prob(pair[1], pair[0])

        encoder: Any = game.autoencoder.posterior.network
        log_qs, _ = comparison.per_event(log_q, encoder, network_key, (x[chosen], labels[chosen]))
        value = -jnp.mean(log_qs)
        return value, ({"cross_entropy": value}, carry)

    return Term(loss)


def players(config: Config, name: str, source: Images) -> list[Player]:
    adam = optax.adam(config.falling(), b1=0.5)
    losses, encoder = divergences.gan.non_saturating, ("autoencoder.posterior",)
    against: list[Term] = []
    regularization: list[Term] = []
    for i, compared in enumerate(judged(name)):
        critic = f"critics.{i}"
        smooth = 0.1 * objectives.r1(compared, by=critic)
        against.append(objectives.critic(compared, losses, by=critic) + smooth)
        regularization.append(objectives.generator(compared, losses, by=critic))
    added = lambda terms: functools.reduce(operator.add, terms).of("autoencoder")
    reconstruction = objectives.reconstruction().of("autoencoder")
    team = [
        Player(name="critic", owns=("critics",), loss=added(against), optimizer=adam),
        Player(name="autoencoder", loss=reconstruction, optimizer=adam),
        Player(name="encoder", owns=encoder, loss=added(regularization), optimizer=adam),
    ]
    if name == "semi-supervised":
        x, labels = labelled(config, source)
        loss = classification(x, labels, config.batch_size)
        team.append(Player(name="classifier", owns=encoder, loss=loss, optimizer=adam))
    return team


def labelled(config: Config, source: Images) -> tuple[jax.Array, jax.Array]:
    """Images drawn at random, as many of each class, and their one-hot labels.

    Not the first ones, as the digits are in no random order: those stand for the others badly.

    Raises:
        ValueError: if there is less than one label a class.
    """
    labels = source.labels[0]
    classes = int(labels.max()) + 1
    if config.labels < classes:
        raise ValueError(
            f"labels must be at least one for each of {classes} classes, got {config.labels}."
        )
    order = np.random.default_rng(config.seed).permutation(len(labels))
    chosen = np.concatenate(
        [order[labels[order] == c][: config.labels // classes] for c in range(classes)]
    )
    return jnp.asarray(source.train[chosen], jnp.float32), jax.nn.one_hot(labels[chosen], classes)


def evaluate(
    config: Config, name: str, source: Images, model: Autoencoder, judge: study.Judge
) -> dict[str, Any]:
    """Figures on the test images, in nats an image where they have a unit; MMD of 1,000 of them."""
    loss_key, mmd_key, draw_key = jax.random.split(jax.random.key(config.seed + 1), 3)
    x = jnp.asarray(source.test, jnp.float32)
    loss, _ = jax.jit(objectives.reconstruction())(model, loss_key, x, ())
    figures = {"reconstruction": -float(loss)}
    for i, compared in enumerate(judged(name)):
        key = jax.random.fold_in(mmd_key, i)
        mmd, _ = jax.jit(objectives.mmd(compared))(model, key, x[:1000], ())
        figures[f"{compared.name}_mmd"] = float(mmd)
    if name in CATEGORICAL:
        encoder: Any = model.posterior
        logits = lambda x: encoder.network.logits(x)
        classes = jax.jit(lambda x: jnp.argmax(jax.lax.map(logits, x, batch_size=500), axis=1))
        test = np.asarray(classes(x))
        if name == "clustering":
            train = np.asarray(classes(jnp.asarray(source.train, jnp.float32)))
            figures["clusters_used"] = len(np.unique(train))
            figures["purity"] = clustering.purity(test, source.labels[1])
            error = clustering.error(train, source.labels[0], test, source.labels[1])
        else:
            error = float(np.mean(test != source.labels[1]))
        figures["test_error"] = error
    images = means(draw_key, model, config.samples)
    return figures | sample_quality.of_images(judge.classifier, images, source.test)._asdict()


def means(key: jax.Array, model: Autoencoder, num_samples: int) -> jax.Array:
    """Means of x given z of the prior."""
    decode = lambda key: model.decode(model.prior.sample(key))
    return jax.jit(jax.vmap(decode))(jax.random.split(key, num_samples))


def save_pictures(
    config: Config, out: Path, source: Images, models: dict[str, Autoencoder]
) -> None:
    """A row of ten samples for each model; for a class, a column: ten styles, one a row."""
    key = config.key
    rows = [means(jax.random.clone(key), model, 10) for model in models.values()]
    pictures.save_samples(out / "samples.png", jnp.concatenate(rows))
    for name in set(CATEGORICAL) & models.keys():
        model = models[name]
        one_hot, style = model.prior.sample(jax.random.clone(key))
        styles = jax.random.normal(jax.random.clone(key), (8, len(style))).at[0].set(0.0)
        classes = jnp.eye(len(one_hot))
        image = lambda style, y, model=model: model.decode((y, style))
        grid = jax.vmap(jax.vmap(image, in_axes=(None, 0)), in_axes=(0, None))(styles, classes)
        pictures.save_samples(
            out / f"{name}.png", grid.reshape(-1, *source.train.shape[1:]), columns=len(classes)
        )


def columns() -> dict[str, study.Column]:
    mmd = lambda row: " / ".join(f"{v:.3f}" for name, v in row.items() if name.endswith("_mmd"))
    return {
        "model": "{model}",
        "log p(x|z)": "{reconstruction:.2f}",
        "MMD": mmd,
        "error": lambda row: f"{row['test_error']:.1%}" if "test_error" in row else "",
        "purity": lambda row: (
            f"{row['purity']:.1%} of {row['clusters_used']}" if "purity" in row else ""
        ),
        "MODE": "{mode_score:.2f}",
        "Fréchet": "{frechet:.1f}",
        "s": "{train_seconds:.0f}",
    }


def experiment(config: Config) -> study.Study:
    source = grey.load_images(config.dataset, config.data_dir)
    judge = study.judge_of(config, source)
    variant = lambda name: study.Variant(
        name=name,
        row={"model": name},
        build=lambda: build(config, name, source),
        players=players(config, name, source),
        data=np.asarray(source.train, np.float32),
        plan=config.plan(reports=20),
    )
    trained = lambda result: state.evaluating(result.model.autoencoder)

    def draw(out: Path, found: Sequence[study.Result]) -> None:
        save_pictures(config, out, source, {it.name: trained(it) for it in found})

    title = (
        "{dataset}: test images in nats; samples seen by a classifier of accuracy "
        "{classifier_accuracy:.1%}"
    )
    note = (
        f"MMD: of latents, or of class / style; semi-supervised: {config.labels} labels; "
        "clustering: clusters are named by most of their training images"
    )
    return study.Study(
        variants=[variant(name) for name in config.model],
        measure=lambda it: evaluate(config, it.name, source, trained(it), judge(it.out)),
        draw=draw,
        tables=[study.Table(title, columns())],
        note=note,
        facts=lambda out: {"dataset": config.dataset, "classifier_accuracy": judge(out).accuracy},
        units="nats per image, of a density on [0, 1] a pixel; shares of 1; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("aae", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
