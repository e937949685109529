"""Adversarial autoencoders: three encoders, few labels, clusters: python -m experiments.aae.

All minimise -E log p(x | z) + w * the generator's loss against critics of the latents, on images
that are binarized anew for each batch. Defaults train on scikit-learn's digits in a few minutes on
two CPU cores.

Source: Makhzani et al. (2016), arXiv:1511.05644, sections 2, 5 and 6.
"""

import dataclasses
import math
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

from genmix import bounds, command_line, data
from genmix.data import grey
from genmix.data.grey import Images
from genmix.evaluation import classifier, clustering, pictures, sample_quality
from genmix.families import (
    Autoencoder,
    Bernoulli,
    Deterministic,
    FactorizedNormal,
    Implicit,
    Independent,
    OneHot,
    StandardNormal,
)
from genmix.nets import MLP, Joined
from genmix.training import (
    Fit,
    Plan,
    Player,
    Term,
    adversarial,
    autoencoding,
    comparison,
    distances,
    fit,
    run_directory,
)

Model = Literal["deterministic", "gaussian", "universal", "semi-supervised", "clustering"]
CATEGORICAL = ("semi-supervised", "clustering")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The first three models are encoders; the others split z into a class and a style."""

    model: tuple[Model, ...] = (
        "deterministic",
        "gaussian",
        "universal",
        "semi-supervised",
        "clustering",
    )
    dataset: Literal["digits", "mnist", "fashion-mnist"] = "digits"
    data_dir: Path | None = None
    """Folder that holds mnist/, ...; the digits need none."""
    latent: int = 8
    """Dimensions of z."""
    style: int = 2
    """Dimensions of the style beside a class: few, so that the class is needed."""
    clusters: int = 16
    """Of the clustering model."""
    labels: int = 100
    """Of the semi-supervised model, as many of each class."""
    noise: int = 8
    """Dimensions of the noise that the universal encoder is given."""
    weight: float = 5.0
    """Of the generator's loss against each critic, beside nats an image."""
    hidden: int | None = None
    """Width of the two hidden layers; 200 for the digits, 1000 for larger images."""
    steps: int = 5000
    batch_size: int = 100
    learning_rate: float = 1e-3
    """At the start; it falls to zero along a cosine."""
    samples: int = 2000
    """Drawn for the table."""
    seed: int = 0
    out: Path | None = None
    """Directory of the run; runs/aae/TIME if not given."""

    def __post_init__(self):
        for name in (
            "latent",
            "style",
            "clusters",
            "labels",
            "noise",
            "hidden",
            "steps",
            "samples",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        if self.batch_size < 2:
            raise ValueError(f"batch_size must be at least 2 for an MMD, got {self.batch_size}.")
        for name in ("weight", "learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}.")


class ClassAndStyle(nnx.Module):
    """Image -> (probabilities of the class, style)."""

    def __init__(self, body: MLP, category: nnx.Linear, style: nnx.Linear):
        self.body, self.category, self.style = body, category, style

    def logits(self, x: jax.Array) -> jax.Array:
        return self.category(jax.nn.relu(self.body(x)))

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.nn.softmax(self.logits(x)), self.style(jax.nn.relu(self.body(x)))


class Game(nnx.Module):
    """An autoencoder, and a critic of its latents or of each part of them."""

    def __init__(self, autoencoder: Autoencoder, critics: list[Any]):
        self.autoencoder = autoencoder
        self.critics = nnx.List(critics)


def autoencoder_of(game: Game) -> Autoencoder:
    return game.autoencoder


def build(config: Config, name: str, source: Images) -> Game:
    shape, rngs = source.train.shape[1:], nnx.Rngs(config.seed)
    hidden = config.hidden or (200 if math.prod(shape) < 500 else 1000)
    relu: dict[str, Any] = {"activation": jax.nn.relu, "rngs": rngs}
    mlp = lambda a, b: MLP(a, (hidden, hidden), b, **relu)
    if name in CATEGORICAL:
        dim = config.style
        classes = config.clusters if name == "clustering" else int(source.labels[0].max()) + 1
        body = MLP(shape, (hidden,), hidden, **relu)
        heads = [nnx.Linear(hidden, size, rngs=rngs) for size in (classes, dim)]
        model = Autoencoder(
            prior=Independent((OneHot(lambda _: jnp.zeros(classes)), StandardNormal(dim))),
            likelihood=Bernoulli(Joined(mlp(classes + dim, shape))),
            posterior=Deterministic(ClassAndStyle(body, *heads)),
        )
        return Game(model, [mlp(classes, 1), mlp(dim, 1)])
    dim = config.latent
    encoders = {
        "deterministic": lambda: Deterministic(mlp(shape, dim)),
        "gaussian": lambda: FactorizedNormal(mlp(shape, 2 * dim)),
        "universal": lambda: Implicit(
            StandardNormal(config.noise), Joined(mlp(config.noise + math.prod(shape), dim))
        ),
    }
    model = Autoencoder(
        prior=StandardNormal(dim), likelihood=Bernoulli(mlp(dim, shape)), posterior=encoders[name]()
    )
    return Game(model, [mlp(dim, 1)])


def judged(name: str) -> list[tuple[comparison.Comparison, Any]]:
    """What each critic compares, and which critic that is."""
    if name not in CATEGORICAL:
        return [(comparison.latent, lambda game: game.critics[0])]
    of_class = comparison.part_of(comparison.latent, "class", lambda z: z[0])
    of_style = comparison.part_of(comparison.latent, "style", lambda z: z[1])
    return [(of_class, lambda game: game.critics[0]), (of_style, lambda game: game.critics[1])]


def classification(game: Game, key: jax.Array, batch: Any, carry: Any) -> Any:
    """Cross-entropy of the labels that are there; a row without one is of zeros."""
    del key
    x, labels = batch
    encoder: Any = game.autoencoder.posterior.network
    log_q = jax.vmap(lambda x, y: OneHot(encoder.logits).log_prob(y, x))(x, labels)
    value = -jnp.sum(log_q) / jnp.maximum(jnp.sum(labels), 1.0)
    return value, ({"cross_entropy": value}, carry)


def players(config: Config, name: str) -> list[Player]:
    learning_rate = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    losses, of, images = bounds.gan.non_saturating, autoencoder_of, lambda batch: batch[0]
    loss = autoencoding.reconstruction(of).on(images)
    against: list[Term] = []
    for compared, by in judged(name):
        options: dict[str, Any] = {"of": of, "by": by}
        loss += config.weight * adversarial.generator(compared, losses, **options).on(images)
        term = adversarial.critic(compared, losses, **options)
        against.append((term + 0.1 * adversarial.r1(compared, **options)).on(images))
    if name == "semi-supervised":
        loss += config.weight * Term(classification)
    critic = against[0] if len(against) == 1 else against[0] + against[1]
    return [
        Player(
            name="critic",
            owns=("critics",),
            loss=critic,
            optimizer=optax.adam(learning_rate, b1=0.5),
        ),
        Player(
            name="autoencoder",
            owns=("autoencoder",),
            loss=loss,
            optimizer=optax.adam(learning_rate, b1=0.5),
        ),
    ]


def some_labels(config: Config, source: Images) -> np.ndarray:
    """One-hot labels of the first images of each class, and rows of zeros for the others."""
    labels = source.labels[0]
    classes = int(labels.max()) + 1
    one_hot = np.zeros((len(labels), classes), np.float32)
    for c in range(classes):
        chosen = np.flatnonzero(labels == c)[: config.labels // classes]
        one_hot[chosen, c] = 1.0
    return one_hot


def train(config: Config, name: str, source: Images, directory: Path) -> Fit:
    plan = Plan(
        num_rounds=config.steps,
        batch_size=config.batch_size,
        transform=lambda key, batch: (data.binarize(key, batch[0]), batch[1]),
        rounds_per_call=max(config.steps // 20, 1),
        directory=directory,
        label=name,
    )
    x = jnp.asarray(source.train, jnp.float32)
    batches = (x, jnp.asarray(some_labels(config, source)))
    game = build(config, name, source)
    return fit(jax.random.key(config.seed), game, players(config, name), batches, plan)


def evaluate(
    config: Config, name: str, source: Images, model: Autoencoder, judge: classifier.Classifier
) -> dict[str, Any]:
    """Figures on the test images, in nats an image where they have a unit."""
    loss_key, mmd_key, draw_key = jax.random.split(jax.random.key(config.seed + 1), 3)
    x = data.binarize(jax.random.key(0), jnp.asarray(source.test, jnp.float32))
    loss, _ = jax.jit(autoencoding.reconstruction())(model, loss_key, x, ())
    figures = {"reconstruction": -float(loss)}
    for i, (compared, _) in enumerate(judged(name)):
        key = jax.random.fold_in(mmd_key, i)
        mmd, _ = jax.jit(distances.mmd(compared))(model, key, x, ())
        figures[f"{compared.name}_mmd"] = float(mmd)
    if name in CATEGORICAL:
        encoder: Any = model.posterior
        classes = jax.jit(lambda x: jnp.argmax(jax.vmap(encoder.network.logits)(x), axis=1))
        bits = data.binarize(jax.random.key(1), jnp.asarray(source.train, jnp.float32))
        train, test = np.asarray(classes(bits)), np.asarray(classes(x))
        if name == "clustering":
            figures["clusters_used"] = len(np.unique(train))
            figures["purity"] = clustering.purity(test, source.labels[1])
            error = clustering.error(train, source.labels[0], test, source.labels[1])
        else:
            error = float(np.mean(test != source.labels[1]))
        figures["test_error"] = error
    images = means(draw_key, model, config.samples)
    return figures | sample_quality.of_images(judge, images, source.test)._asdict()


def means(key: jax.Array, model: Autoencoder, num_samples: int) -> jax.Array:
    """Means of x given z of the prior."""
    decode = lambda key: model.decode(model.prior.sample(key))
    return jax.jit(jax.vmap(decode))(jax.random.split(key, num_samples))


def save_pictures(
    config: Config, out: Path, source: Images, models: dict[str, Autoencoder]
) -> None:
    """A row of ten samples for each model; for a class, a column: ten styles, one a row."""
    key = jax.random.key(config.seed)
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


def print_table(config: Config, rows: list[dict[str, Any]], accuracy: float) -> None:
    title = (
        f"{config.dataset}: test images in nats; samples seen by a classifier of accuracy "
        f"{accuracy:.1%}"
    )
    columns = ("log p(x|z)", "MMD", "error", "purity", "MODE", "Fréchet", "s")
    table = Table("model", *columns, title=title)
    for row in rows:
        number = lambda name, form, row=row: format(row[name], form) if name in row else ""
        mmd = " / ".join(f"{v:.3f}" for name, v in row.items() if name.endswith("_mmd"))
        purity = f"{row['purity']:.1%} of {row['clusters_used']}" if "purity" in row else ""
        table.add_row(
            row["model"],
            f"{row['reconstruction']:.2f}",
            mmd,
            number("test_error", ".1%"),
            purity,
            f"{row['mode_score']:.2f}",
            f"{row['frechet']:.1f}",
            f"{row['train_seconds']:.0f}",
        )
    Console().print(table)
    Console().print(
        f"MMD: of latents, or of class / style; semi-supervised: {config.labels} labels; "
        "clustering: clusters are named by most of their training images"
    )


def main(config: Config) -> list[dict[str, Any]]:
    start = time.perf_counter()
    source = grey.load_images(config.dataset, config.data_dir)
    out = run_directory.begin("aae", config)
    key, (train_labels, test_labels) = jax.random.key(config.seed), source.labels
    judge = classifier.train(key, source.train, train_labels, directory=out / "classifier")
    accuracy = classifier.accuracy(judge, source.test, test_labels)
    rows, models = [], {}
    for name in config.model:
        trained = train(config, name, source, out / name)
        models[name] = trained.model.autoencoder
        figures = evaluate(config, name, source, models[name], judge)
        rows.append({"model": name} | figures | {"train_seconds": trained.seconds})
    save_pictures(config, out, source, models)
    print_table(config, rows, accuracy)
    run_directory.write_results(
        out,
        start,
        units="nats per image; shares of 1; seconds",
        dataset=config.dataset,
        classifier_accuracy=accuracy,
        seed=config.seed,
        rows=rows,
    )
    print(f"pictures and figures: {out}")
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
