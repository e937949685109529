"""Deep generative models that learn from few labels: python -m experiments.semi_supervised.

M1 is a variational autoencoder with a classifier of its features; M2 sums over the classes that are
not known; M1+M2 is M2 of M1's features. The clusters are M1 with a prior that sums over classes
which no label names. Defaults train on scikit-learn's digits in minutes on two
CPU cores.

Source: Kingma et al. (2014), arXiv:1406.5298; Jiang et al. (2017), arXiv:1611.05148 (clusters).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import study
from experiments.few_labels.config import Config, Name
from experiments.few_labels.parts import build
from genmix import evaluation, objectives
from genmix.capabilities import held
from genmix.data import Dataset, partly_labelled
from genmix.evaluation import clustering, pictures
from genmix.families import Classified
from genmix.objectives import Rate, Term
from genmix.runs import command_line
from genmix.training import Player


def of_features(term: Term) -> Term:
    """A term of M2, about features that M1 draws; M1 is held constant."""

    def loss(game: Any, key: jax.Array, batch: Any, carry: Any) -> Any:
        encode_key, key = jax.random.split(key)
        x, *classes = batch if isinstance(batch, tuple) else (batch,)
        keys = jax.random.split(encode_key, len(x))
        z = jax.vmap(held(game.m1).encode)(keys, x)
        return term(game.m2, key, (z, *classes) if classes else z, carry)

    return Term(loss, lambda game: term.init(game.m2))


def players(config: Config, name: Name, labelled: tuple[Any, Any]) -> list[Player]:
    adam = optax.adam(config.falling())
    if name == "M1":
        return [Player(loss=objectives.elbo(), optimizer=adam)]
    if name == "clusters":  # which take shape while features spread, or one of them takes all
        beta = optax.linear_schedule(0.01, 1.0, config.steps // 2)
        return [Player(loss=objectives.elbo(rate=Rate(beta=beta)), optimizer=adam)]
    wrap = of_features if name == "M1+M2" else lambda term: term
    over = lambda term: wrap(term).over(labelled, config.labelled_batch_size, prefix="labelled/")
    loss = over(objectives.classification())
    if name != "pixels":
        pairs = objectives.elbo().of(lambda model: model.pairs)
        weight = 0.0 if name == "M2 without q's term" else config.weight
        loss = wrap(objectives.elbo()) + over(pairs) + weight * loss
    if name != "M1+M2":
        return [Player(loss=loss, optimizer=adam)]
    return [
        Player(name="m1", loss=objectives.elbo().of("m1"), optimizer=adam),
        Player(name="m2", loss=loss, optimizer=adam),
    ]


def evaluate(config: Config, dataset: Dataset, name: Name, model: Any) -> Any:
    """Error on the test images; of each number of labels, where training needs none."""
    x, labels = jnp.asarray(dataset.test), np.asarray(dataset.test_labels)
    if name == "M1":
        mean = jax.jit(jax.vmap(model.posterior.mean))
        found = []
        for number in config.labels:
            known, classes = labelled(config, dataset, number)
            probe = evaluation.probe(mean(known), np.argmax(classes, axis=1), mean(x), labels)
            found.append({"labels": number, "test_error": 1 - probe.accuracy})
        return found
    encode, part = lambda x: x, model
    if name == "M1+M2":
        encode, part = model.m1.posterior.mean, model.m2
    elif name == "clusters":
        encode, part = model.posterior.mean, model.prior
    classify = jax.jit(jax.vmap(lambda x: jnp.argmax(part.log_posterior(config.key, encode(x)))))
    found = np.asarray(classify(x))
    if name != "clusters":
        return {"test_error": float(np.mean(found != labels))}
    train = np.asarray(classify(jnp.asarray(dataset.train)))
    error = clustering.error(train, np.asarray(dataset.train_labels), found, labels)
    return {"test_error": error, "clusters_used": len(np.unique(train))}


def labelled(config: Config, dataset: Dataset, number: int) -> tuple[jax.Array, jax.Array]:
    """So many training images, and their classes."""
    labels = np.asarray(dataset.train_labels)
    classes = int(labels.max()) + 1
    known = partly_labelled.hidden(labels, number, num_classes=classes, seed=config.seed)
    found = partly_labelled.split(dataset.train, known, num_classes=classes)
    x = jnp.asarray(found.labelled)
    if dataset.transform is not None:
        x = dataset.transform(jax.random.fold_in(config.key, number), x)
    return x, jnp.asarray(found.classes)


def draw_analogies(dataset: Dataset, path: Path, model: Classified) -> None:
    """Test images, each followed by its style in every class."""
    part, x = model.model.part, jnp.asarray(dataset.test[:10])

    def row(x: jax.Array) -> jax.Array:
        classes = model.model.prior.support()[0]
        y = classes[jnp.argmax(model.log_posterior(jax.random.key(0), x))]
        style = part.posterior.mean((x, y))
        return jnp.concatenate([x[None], jax.vmap(lambda y: part.decode(style, y))(classes)])

    images = jax.jit(jax.vmap(row))(x)
    pictures.save_samples(path, images.reshape(-1, *x.shape[1:]), columns=images.shape[1])


def experiment(config: Config) -> study.Study:
    dataset = config.load()
    if dataset.train_labels is None or dataset.num_levels != 2:
        raise ValueError(f"{dataset.name} must have labels and bits: use digits or mnist.")

    classes = int(dataset.train_labels.max()) + 1

    def variant(name: Name, number: int) -> study.Variant:
        return study.Variant(
            name=f"{name}, {number} labels" if number else name,
            row={"model": name, "labels": number},
            build=lambda: build(config, name, dataset.train.shape[1:], classes),
            players=players(
                config, name, labelled(config, dataset, max(number, min(config.labels)))
            ),
            data=dataset.train,
            plan=config.plan(transform=dataset.transform),
        )

    def draw(out: Path, found: Sequence[study.Result]) -> None:
        for it in found:
            if it.row == {"model": "M2", "labels": max(config.labels)}:
                draw_analogies(dataset, out / "analogies.png", it.model)

    numbers = lambda name: (0,) if name in ("M1", "clusters") else config.labels
    cell = lambda number: lambda row: f"{row[number]:.1%}" if number in row else ""

    def by_model(rows: Sequence[study.Row]) -> list[dict[str, Any]]:
        errors = lambda name: {r["labels"]: r["test_error"] for r in rows if r["model"] == name}
        return [{"model": name, **errors(name)} for name in config.model]

    columns = {f"{n} labels" if n else "none": cell(n) for n in (0, *sorted(config.labels))}
    return study.Study(
        variants=[variant(name, n) for name in config.model for n in numbers(name)],
        measure=lambda it: evaluate(config, dataset, it.row["model"], it.model),
        draw=draw,
        tables=[study.Table("{dataset}: test error", {"model": "{model}", **columns}, by_model)],
        facts={"dataset": dataset.name},
        units="shares of 1; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("semi_supervised", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
