"""Images with a second modality, either of which may be missing: python -m experiments.multimodal.

A digit and its label, or its rotated twin, by one latent: posteriors as products of experts (MVAE),
as mixtures of them (MMVAE), and with an expert of both whom those of one learn from (JMVAE).
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments import study
from genmix import evaluation
from genmix.data import Dataset
from genmix.evaluation import pictures
from genmix.families import (
    Bernoulli,
    LatentVariableModel,
    MixtureOfExperts,
    Modalities,
    Normal,
    OfModalities,
    OneHot,
    ProductOfExperts,
    StandardNormal,
)
from genmix.families.latent.modalities import complete
from genmix.nets import MLP, Joined
from genmix.objectives import elbo, experts_kl
from genmix.runs import command_line
from genmix.training import Player

SHOWN = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.OnImages):
    """Defaults train on scikit-learn's digits, in minutes on two CPU cores."""

    model: study.Each[Literal["product", "mixture", "joint"]] = ("product", "mixture", "joint")
    second: Literal["label", "rotated"] = "label"
    """The other modality: its class, or the same image turned by a quarter."""
    latent: study.Count = 10
    """Dimensions of z."""
    hidden: study.Count = 200
    """Width of the two hidden layers of each network."""
    teaching: study.NotNegative = 0.1
    """Weight of KL(q(z | both) || q(z | one)) for the model with a joint expert."""
    steps: study.Count = 5000
    particles: study.Count = 500
    """Of the NLL estimates."""


def pairs(config: Config, dataset: Dataset, part: str) -> Modalities:
    """Images of a split with their second modality, which `ready` makes anew where it depends."""
    images, labels = getattr(dataset, part), getattr(dataset, f"{part}_labels")
    if config.second == "rotated":
        return complete(jnp.asarray(images), turned(jnp.asarray(images)))
    if labels is None:
        raise ValueError(f"{dataset.name} has no labels: use second='rotated'.")
    classes = int(np.max(dataset.train_labels)) + 1 if dataset.train_labels is not None else 0
    return complete(jnp.asarray(images), jax.nn.one_hot(labels, classes))


def turned(images: jax.Array) -> jax.Array:
    return jnp.rot90(images, axes=(1, 2))


def ready(config: Config, dataset: Dataset) -> Callable[[Any, Any], Any] | None:
    """Draw the bits of a batch, and turn them."""
    if dataset.transform is None:
        return None
    draw = dataset.transform

    def transform(key: jax.Array, batch: Modalities) -> Modalities:
        images = draw(key, batch.values[0])
        other = turned(images) if config.second == "rotated" else batch.values[1]
        return batch._replace(values=(images, other))

    return transform


def build(config: Config, x: Modalities, name: str) -> LatentVariableModel:
    rngs, prior = nnx.Rngs(config.seed), StandardNormal(config.latent)
    shapes = [value.shape[1:] for value in x.values]
    network = lambda i, o: MLP(i, (config.hidden,) * 2, o, activation=jax.nn.silu, rngs=rngs)
    image, other = (network(config.latent, shape) for shape in shapes)
    parts = [Bernoulli(image), OneHot(other) if config.second == "label" else Bernoulli(other)]
    experts = [Normal(network(shape, config.latent)) for shape in shapes]
    both = Joined(network(sum(int(np.prod(shape)) for shape in shapes), config.latent))
    if name == "product":
        posterior: Any = ProductOfExperts(experts, prior=prior)
    else:
        joint = Normal(both) if name == "joint" else None
        posterior = MixtureOfExperts(experts, prior=prior, joint=joint)
    return LatentVariableModel(prior=prior, likelihood=OfModalities(parts), posterior=posterior)


def objective(config: Config, name: str) -> Any:
    """A product sees each modality alone, too, or its experts would not know what they say."""
    if name == "joint":
        return elbo() + config.teaching * experts_kl()
    if name == "mixture":
        return elbo()
    alone = lambda i: elbo(name=f"elbo_{i}").named(f"only_{i}").on(lambda batch: batch.only(i))
    return elbo() + alone(0) + alone(1)


def crossed(model: LatentVariableModel, key: jax.Array, x: Modalities, *seen: int) -> Modalities:
    """Means of all modalities given z ~ q(z | those that are seen)."""
    one = lambda key, x: model.decode(model.posterior.sample(key, x))
    return jax.vmap(one)(jax.random.split(key, len(x.present)), x.only(*seen))


def measure(config: Config, x: Modalities, model: LatentVariableModel) -> dict[str, Any]:
    """NLL of both and of each alone; how well the second is known from the first, in nats."""
    keys = iter(jax.random.split(jax.random.key(config.seed + 1), 5))
    nll = lambda event: (
        evaluation.log_likelihood(next(keys), model, event, num_particles=config.particles).nll
    )
    figures: dict[str, Any] = {"nll": nll(x), "nll_first": nll(x.only(0))}
    figures["nll_second"] = nll(x.only(1))

    def second(key: jax.Array, x: Modalities) -> jax.Array:
        z = model.posterior.sample(key, x.only(0))
        return model.likelihood.log_prob(x.only(1), z)

    found = jax.jit(jax.vmap(second))(jax.random.split(next(keys), len(x.present)), x)
    figures["cross"] = float(-jnp.mean(found))
    if config.second == "label":
        guess = jax.jit(crossed, static_argnums=3)(model, next(keys), x, 0).values[1]
        right = jnp.argmax(guess, -1) == jnp.argmax(x.values[1], -1)
        figures["accuracy"] = float(jnp.mean(right))
    return figures


def draw(config: Config, x: Modalities, result: study.Result) -> None:
    """crossed.png: images, and what each modality says of the other."""
    x = jax.tree.map(lambda a: a[:SHOWN], x)
    given = {f"{i}": crossed(result.model, config.key, x, i) for i in (0, 1)}
    rows = {"image": x.values[0], "given itself": given["0"].values[0]}
    rows[f"given its {'label' if config.second == 'label' else 'twin'}"] = given["1"].values[0]
    if config.second == "rotated":
        rows |= {"twin": x.values[1], "given the image": given["0"].values[1]}
    shown = {name: np.asarray(row) for name, row in rows.items()}  # a tree's map would sort them
    pictures.save_sheet(result.directory / "crossed.png", shown)


def experiment(config: Config) -> study.Study:
    dataset = config.load()
    if dataset.num_levels != 2:
        raise ValueError(f"{dataset.name} is grey: these networks draw bits; take a binary set.")
    train, test = (pairs(config, dataset, part) for part in ("train", "test"))
    variant = lambda name: study.Variant(
        name=name,
        row={"model": name},
        build=lambda: build(config, train, name),
        players=[Player(loss=objective(config, name), optimizer=optax.adam(config.falling()))],
        data=train,
        plan=config.plan(transform=ready(config, dataset)),
    )
    columns: dict[str, study.Column] = {
        "posterior": "{model}",
        "both": "{nll:.2f}",
        "image": "{nll_first:.2f}",
        config.second: "{nll_second:.2f}",
        f"{config.second}, z of the image": "{cross:.2f}",
        "right": study.known("{accuracy:.1%}"),
        "training": "{train_seconds:.0f} s",
    }
    return study.Study(
        variants=[variant(name) for name in config.model],
        measure=lambda result: measure(config, test, result.model),
        draw_each=lambda result: draw(config, test, result),
        tables=[study.Table("{dataset}: NLL in nats, {particles} particles", columns)],
        facts={"dataset": dataset.name},
        units="nats per event; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("multimodal", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
