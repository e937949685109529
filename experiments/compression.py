"""Files of digits in as many bits as the ELBO says, and back: python -m experiments.compression.

VAEs of one and two stochastic layers are trained on binary images, and the test images are
compressed with each by bits back with ANS. Defaults take two minutes on two CPU cores.

Source: Townsend, Bird & Barber (2019), arXiv:1901.04866; Kingma, Abbeel & Ho (2019),
arXiv:1905.06845.
"""

import dataclasses
import lzma
import math
import time
from typing import Any

import numpy as np
import optax
from flax import nnx

from experiments import study
from genmix import compression, evaluation, objectives
from genmix.data import Dataset
from genmix.families import Bernoulli, LatentVariableModel, Normal, StandardNormal
from genmix.nets import MLP
from genmix.runs import command_line
from genmix.training import Player


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.OnImages):
    """Images are binary; MNIST takes some minutes more."""

    layers: study.Each[study.Count] = (1, 2)
    """Stochastic layers of the models, each with half the latents of the one below."""
    latent: study.Count = 16
    """Dimensions of the lowest z."""
    hidden: study.Count = 100
    """Width of the two hidden layers of each network."""


def build(config: Config, shape: tuple[int, ...], layers: int) -> LatentVariableModel:
    """A model of x whose prior is a model of z, and so on."""
    rngs = nnx.Rngs(config.seed)
    hidden = (config.hidden, config.hidden)

    def model(shape: tuple[int, ...], latent: int, layers: int) -> LatentVariableModel:
        is_data = len(shape) > 1
        inner = max(latent // 2, 1)
        return LatentVariableModel(
            prior=model((latent,), inner, layers - 1) if layers > 1 else StandardNormal(latent),
            likelihood=(Bernoulli if is_data else Normal)(MLP(latent, hidden, shape, rngs=rngs)),
            posterior=Normal(MLP(shape, hidden, latent, rngs=rngs)),
        )

    return model(shape, config.latent, layers)


def measure(config: Config, dataset: Dataset, model: LatentVariableModel) -> dict[str, Any]:
    """Bits per image: the bound, the file, and what a general program needs.

    Raises:
        RuntimeError: if an image does not come back.
    """
    x = dataset.test
    bound = evaluation.elbo(config.key, model, x)
    start = time.perf_counter()
    content = compression.compress(model, x, num_levels=2)
    middle = time.perf_counter()
    if not np.array_equal(compression.decompress(model, content, num_levels=2), x):
        raise RuntimeError("an image did not come back from the file.")
    bits = 8 * len(content) / len(x)
    overhead = compression.overhead(content) / len(x)
    rate = -bound.elbo / math.log(2)
    return {
        "bound": rate,
        "bits": bits,
        "overhead": overhead,
        "excess": (bits - overhead) / rate - 1,
        "pixels": x[0].size,
        "lzma": 8 * len(lzma.compress(np.packbits(x.astype(bool)).tobytes())) / len(x),
        "images_per_second": len(x) / (middle - start),
        "images_per_second_back": len(x) / (time.perf_counter() - middle),
    }


def experiment(config: Config) -> study.Study:
    dataset = config.load()
    if dataset.num_levels != 2:
        raise ValueError(f"dataset must be of binary images, and {dataset.name} is of levels.")
    shape = dataset.train.shape[1:]
    variants = [
        study.Variant(
            name=f"{layers}-layers",
            row={"layers": layers},
            build=lambda layers=layers: build(config, shape, layers),
            players=[Player(loss=objectives.elbo(), optimizer=optax.adam(config.falling()))],
            data=dataset.train,
            plan=config.plan(transform=dataset.transform),
        )
        for layers in config.layers
    ]
    columns = {
        "layers": "{layers}",
        "pixels": "{pixels}",
        "lzma": "{lzma:.1f}",
        "-ELBO": "{bound:.2f}",
        "file": "{bits:.2f}",
        "of it overhead": "{overhead:.2f}",
        "excess": "{excess:.2%}",
        "images/s": "{images_per_second:.0f}",
        "back": "{images_per_second_back:.0f}",
    }
    title = "{dataset}: bits per image of {images} test images, each decoded exactly"
    return study.Study(
        variants=variants,
        measure=lambda result: measure(config, dataset, result.model),
        tables=[study.Table(title, columns)],
        facts={"dataset": dataset.name, "images": len(dataset.test)},
        units="bits per image; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("compression", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
