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
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments import study
from genmix import divergences, objectives
from genmix.data import partly_labelled
from genmix.data.grey import Images
from genmix.evaluation import clustering, latent_pictures, model_pictures, pictures, sample_quality
from genmix.families import (
    Autoencoder,
    Deterministic,
    Implicit,
    Independent,
    Normal,
    OneHot,
    StandardNormal,
)
from genmix.nets import MLP, ClassAndStyle, ConvEncoder, Joined, balanced_logits, state
from genmix.objectives import Term
from genmix.runs import command_line
from genmix.training import Game, Player

Model = Literal["deterministic", "gaussian", "universal", "semi-supervised", "clustering"]
MODELS: tuple[Model, ...] = get_args(Model)
CATEGORICAL = ("semi-supervised", "clustering")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.OnGreyImages):
    """The first three models are encoders; the others split z into a class and a style."""

    model: study.Each[Model] = MODELS
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
    hidden_pixels: study.Fraction = 0.2
    """Share of pixels that are hidden in training: of labelled images, or of all in clustering."""
    hidden: study.Count | None = None
    """Width of the hidden layers; 200 for the digits, 256 for larger images."""
    batch_size: Annotated[int, study.at_least(2, "for an MMD")] = 100


def build(config: Config, name: str, source: Images) -> Game:
    """An autoencoder, and a critic of its latents or of each part of them."""
    shape, rngs = source.train.shape[1:], nnx.Rngs(config.seed)
    hidden = config.hidden or study.by_size(shape, 200, 256)
    relu: dict[str, Any] = {"activation": jax.nn.relu, "rngs": rngs}
    mlp = lambda a, b: MLP(a, (hidden, hidden), b, **relu)
    likelihood = lambda net: Normal(nnx.Sequential(net, jax.nn.sigmoid), scale=config.scale)
    if name in CATEGORICAL:
        dim = config.style
        classes = config.clusters if name == "clustering" else int(source.labels[0].max()) + 1
        body = study.by_size(
            shape,
            lambda: MLP(shape, (hidden,), hidden, **relu),
            lambda: ConvEncoder(shape, (16, 32), hidden, rngs=rngs),
        )()
        category = balanced_logits(hidden, classes, rngs=rngs)
        style = nnx.Linear(hidden, dim, rngs=rngs)
        prior = Independent((OneHot(lambda _: jnp.zeros(classes), classes), StandardNormal(dim)))
        decoder = likelihood(Joined(mlp(classes + dim, shape)))
        hide = nnx.Dropout(config.hidden_pixels, rngs=rngs)
        encoder = ClassAndStyle(hide, body, category, style, hides_always=name == "clustering")
        model = Autoencoder(prior=prior, likelihood=decoder, posterior=Deterministic(encoder))
        return Game(autoencoder=model, critics=nnx.List([mlp(classes, 1), mlp(dim, 1)]))
    dim, seen = config.latent, config.noise + math.prod(shape)
    encoders = {
        "deterministic": lambda: Deterministic(mlp(shape, dim)),
        "gaussian": lambda: Normal(mlp(shape, dim)),
        "universal": lambda: Implicit(StandardNormal(config.noise), Joined(mlp(seen, dim))),
    }
    decoder = likelihood(mlp(dim, shape))
    model = Autoencoder(prior=StandardNormal(dim), likelihood=decoder, posterior=encoders[name]())
    return Game(autoencoder=model, critics=nnx.List([mlp(dim, 1)]))


def judged(name: str) -> list[objectives.Comparison]:
    """What each critic compares."""
    if name not in CATEGORICAL:
        return [objectives.latent]
    of_class = objectives.part_of(objectives.latent, "class", lambda z: z[0])
    of_style = objectives.part_of(objectives.latent, "style", lambda z: z[1])
    return [of_class, of_style]


def classification(config: Config, source: Images) -> Term:
    """Cross-entropy of labelled images; their normalization statistics are not kept."""
    labels, classes = source.labels[0], int(source.labels[0].max()) + 1
    known = partly_labelled.hidden(labels, config.labels, num_classes=classes, seed=config.seed)
    few = partly_labelled.split(np.asarray(source.train, np.float32), known, num_classes=classes)
    examples, term = (few.labelled, few.classes), objectives.classification()
    quiet = Term(lambda network, *rest: term(state.fresh(network), *rest), term.init)
    return quiet.over(examples, config.batch_size, prefix="").of("autoencoder.posterior.network")


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
        loss = classification(config, source)
        team.append(Player(name="classifier", owns=encoder, loss=loss, optimizer=adam))
    return team


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
        logits = jax.jit(lambda x: jax.lax.map(encoder.network.logits, x, batch_size=500))
        train, test = (
            np.argmax(logits(jnp.asarray(x, jnp.float32)), axis=1)
            for x in (source.train, source.test)
        )
        figures["test_error"] = float(np.mean(test != source.labels[1]))
        if name == "clustering":
            figures["clusters_used"] = len(np.unique(train))
            figures["purity"] = clustering.purity(test, source.labels[1])
            labels = source.labels
            figures["test_error"] = clustering.error(train, labels[0], test, labels[1])
    return figures | judge.quality(sample_quality.draw_means(draw_key, model, config.samples))


def draw(config: Config, out: Path, models: dict[str, Autoencoder]) -> None:
    """A row of ten samples for each model; for a class, a column: eight styles, one a row."""
    model_pictures.save_samples(out / "samples.png", config.key, list(models.values()))
    for name in set(CATEGORICAL) & models.keys():
        one_hot, style = models[name].prior.sample(config.key)
        styles = jax.random.normal(config.key, (8, len(style))).at[0].set(0.0)
        image = lambda style, y, model=models[name]: model.decode((y, style))
        images = latent_pictures.grid(image, styles, jnp.eye(len(one_hot)))
        pictures.save_grid(out / f"{name}.png", images)


def experiment(config: Config) -> study.Study:
    source = config.images()
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
    mmd = lambda row: " / ".join(f"{v:.3f}" for name, v in row.items() if name.endswith("_mmd"))
    columns: dict[str, study.Column] = {
        "model": "{model}",
        "log p(x|z)": "{reconstruction:.2f}",
        "MMD": mmd,
        "error": study.known("{test_error:.1%}"),
        "purity": study.known("{purity:.1%} of {clusters_used}"),
        "MODE": "{mode_score:.2f}",
        "Fréchet": "{frechet:.1f}",
        "s": "{train_seconds:.0f}",
    }
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
        draw=lambda out, found: draw(config, out, {it.name: trained(it) for it in found}),
        tables=[study.Table(title, columns)],
        note=note,
        facts=lambda out: {"dataset": config.dataset, "classifier_accuracy": judge(out).accuracy},
        units="nats per image, of a density on [0, 1] a pixel; shares of 1; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("aae", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
