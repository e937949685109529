"""Autoencoders, principal components to denoising: python -m experiments.autoencoders.

Bottlenecks of two and of five numbers beside each other, and what is left of a variational
autoencoder that is trained by its reconstruction alone, by its KL alone, or by both. Defaults train
on scikit-learn's digits in a few minutes on two CPU cores.

Source: Baldi & Hornik (1989), Neural Networks 2(1); Hinton & Salakhutdinov (2006), Science 313;
Vincent et al. (2008), ICML (denoising).
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments import study
from genmix import evaluation, objectives
from genmix.data import corruption, grey
from genmix.data.grey import Images
from genmix.evaluation import pictures
from genmix.families import (
    Autoencoder,
    Deterministic,
    LatentVariableModel,
    Normal,
    SaltAndPepper,
    StandardNormal,
)
from genmix.inference import pca
from genmix.nets import MLP, ConvDecoder, ConvEncoder
from genmix.objectives import Term
from genmix.runs import command_line
from genmix.training import Player

Kind = Literal["linear", "deep", "convolutional", "denoising"]
KINDS: tuple[Kind, ...] = ("linear", "deep", "convolutional", "denoising")
HALVES: dict[str, Callable[[], Term]] = {
    "only reconstruction": objectives.reconstruction,
    "only KL": objectives.rate,
    "both": lambda: objectives.reconstruction() + objectives.rate(),
}
CORRUPTIONS: dict[str, Callable[[float], corruption.Corrupt]] = {
    "gaussian": corruption.gaussian,
    "masking": corruption.masking,
    "salt-and-pepper": lambda rate: SaltAndPepper(rate).sample,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.OnImages):
    """Squared errors are of images in [0, 1]; each kind has a row for each bottleneck."""

    kind: study.Each[Kind] = KINDS
    bottleneck: study.Each[study.Count] = (2, 5)
    dataset: Literal["digits", "mnist", "fashion-mnist"] = "digits"
    noise: Literal["gaussian", "masking", "salt-and-pepper"] = "masking"
    """What the denoising ones see in training, and all of them in the test of denoising."""
    amount: study.Positive = 0.3
    """Standard deviation of gaussian noise, or share of the pixels that is hidden or replaced."""
    scale: study.Positive = 0.1
    """Standard deviation of a pixel given z of the variational autoencoders, whose z is 2-D."""
    hidden: study.Count = 128
    """Width of the hidden layers; half of it next to z."""
    steps: study.Count = 4000
    batch_size: study.Count = 50
    learning_rate: study.Positive = 2e-3
    """At the start; it falls to zero along a cosine."""

    @property
    def corrupt(self) -> corruption.Corrupt:
        return CORRUPTIONS[self.noise](self.amount)


def networks(config: Config, kind: str, dim: int, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Of the encoder and of the decoder."""
    rngs, hidden = nnx.Rngs(config.seed), (config.hidden, max(config.hidden // 2, 1))
    if kind == "linear":
        return MLP(shape, (), dim, rngs=rngs), MLP(dim, (), shape, rngs=rngs)
    if kind == "convolutional":
        encoder = ConvEncoder(shape, (16, 32), dim, rngs=rngs)
        return encoder, nnx.Sequential(ConvDecoder(dim, (32, 16), shape, rngs=rngs), jax.nn.sigmoid)
    mlp = lambda a, b, widths: MLP(a, widths, b, activation=jax.nn.relu, rngs=rngs)
    decoder = mlp(dim, shape, hidden[::-1])
    return mlp(shape, dim, hidden), nnx.Sequential(decoder, jax.nn.sigmoid)


def build(config: Config, kind: str, dim: int, shape: tuple[int, ...]) -> Any:
    encoder, decoder = networks(config, kind, dim, shape)
    prior = StandardNormal(dim)
    if kind in HALVES:
        likelihood = Normal(decoder, scale=config.scale)
        return LatentVariableModel(prior=prior, likelihood=likelihood, posterior=Normal(encoder))
    # Of this scale -log p(x | z) is the squared distance, plus a constant.
    likelihood = Normal(decoder, scale=0.5**0.5)
    return Autoencoder(prior=prior, likelihood=likelihood, posterior=Deterministic(encoder))


def variant(config: Config, source: Images, kind: str, dim: int) -> study.Variant:
    corrupt = config.corrupt if kind == "denoising" else None
    loss = HALVES[kind]() if kind in HALVES else objectives.reconstruction(corrupt=corrupt)
    return study.Variant(
        name=kind if kind in HALVES else f"{kind}, {dim} numbers",
        row={"model": kind, "bottleneck": dim},
        build=lambda: build(config, kind, dim, source.train.shape[1:]),
        players=[Player(loss=loss, optimizer=optax.adam(config.falling()))],
        data=np.asarray(source.train, np.float32),
        plan=config.plan(),
    )


def restored(model: Any, x: jax.Array) -> jax.Array:
    """Means of x given the mean of z."""
    return jax.jit(jax.vmap(lambda x: model.decode(model.posterior.mean(x))))(x)


def figures(config: Config, source: Images, restore: Any, encode: Any) -> dict[str, Any]:
    """On the test images, whole and corrupted; the probe reads the class from z."""
    train, x = (jnp.asarray(a, jnp.float32) for a in (source.train, source.test))
    again, cleaned = restore(x), restore(corrupted(config, x))
    psnr = lambda y: float(jnp.mean(jax.vmap(evaluation.psnr)(x, y)))
    probe = evaluation.probe(encode(train), source.labels[0], encode(x), source.labels[1])
    return {
        "squared_error": float(jnp.mean(jnp.sum((x - again) ** 2, axis=(1, 2, 3)))),
        "psnr": psnr(again),
        "psnr_denoised": psnr(cleaned),
        "probe": probe.accuracy,
    }


def corrupted(config: Config, x: jax.Array) -> jax.Array:
    return jax.vmap(config.corrupt)(jax.random.split(config.key, len(x)), x)


def principal(source: Images, dim: int) -> tuple[Any, Any]:
    """(restore, encode) of principal components."""
    flat = lambda x: jnp.asarray(x, jnp.float32).reshape(len(x), -1)
    found = pca.fit(flat(source.train), dim)
    encode = lambda x: jax.vmap(found.encode)(flat(x))
    return lambda x: jax.vmap(found.decode)(encode(x)).reshape(x.shape), encode


def draw(config: Config, source: Images, out: Path, found: Sequence[study.Result]) -> None:
    """Rows of test images and of each model's; the same of corrupted ones; z of each half."""
    x = jnp.asarray(source.test[:10], jnp.float32)
    restorers = [principal(source, dim)[0] for dim in config.bottleneck]
    restorers += [lambda x, m=it.model: restored(m, x) for it in found if it.name not in HALVES]
    for name, seen in (("reconstructions", x), ("denoised", corrupted(config, x))):
        rows = [x, seen, *(restore(seen) for restore in restorers)]
        pictures.save_samples(out / f"{name}.png", jnp.concatenate(rows[name != "denoised" :]))
    x = jnp.asarray(source.test, jnp.float32)
    keys = lambda: jax.random.split(config.key, len(x))  # the same for every model
    z = {it.name: jax.vmap(it.model.encode)(keys(), x) for it in found if it.name in HALVES}
    pictures.save_scatters(out / "latents.png", z, source.labels[1], reach=4.0)


def experiment(config: Config) -> study.Study:
    source = grey.load_images(config.dataset, config.data_dir, limit=config.limit)

    def measure(it: study.Result) -> dict[str, Any]:
        encode = jax.jit(jax.vmap(it.model.posterior.mean))
        return figures(config, source, lambda x: restored(it.model, x), encode)

    columns = {
        "model": "{model}",
        "z": "{bottleneck}",
        "squared error": "{squared_error:.2f}",
        "PSNR (dB)": "{psnr:.2f}",
        "denoised": "{psnr_denoised:.2f}",
        "probe": "{probe:.1%}",
        "s": "{train_seconds:.0f}",
    }
    pairs = [(kind, dim) for kind in config.kind for dim in config.bottleneck]
    return study.Study(
        before=[
            {"model": "PCA", "bottleneck": dim, **figures(config, source, *principal(source, dim))}
            for dim in config.bottleneck
        ],
        variants=[
            *(variant(config, source, kind, dim) for kind, dim in pairs),
            *(variant(config, source, name, 2) for name in HALVES),
        ],
        measure=measure,
        draw=lambda out, found: draw(config, source, out, found),
        tables=[study.Table("{dataset}: test images, whole and with {noise} noise", columns)],
        facts={"dataset": config.dataset},
        units="squared distance an image in [0, 1]; decibels; shares of 1; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("autoencoders", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
