"""M1, M2 and clusters, of images or of features."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.few_labels.config import Config, Name
from genmix.families import (
    Bernoulli,
    Classified,
    LatentVariableModel,
    Normal,
    OneHot,
    StandardNormal,
    Summed,
)
from genmix.nets import MLP, Joined
from genmix.training import Game


class Places(nnx.Module):
    """One-hot cluster -> location and raw scale of its z; the locations start apart."""

    def __init__(self, clusters: int, dim: int, *, rngs: nnx.Rngs):
        loc = jax.random.normal(rngs.params(), (clusters, dim))
        self.numbers = nnx.Param(jnp.stack([loc, jnp.zeros_like(loc)], axis=-1))

    def __call__(self, y: jax.Array) -> jax.Array:
        return jnp.tensordot(y, self.numbers[...], axes=1)


def of_class(config: Config, shape: Any, classes: int, likelihood: Any, rngs: nnx.Rngs) -> Any:
    """x given y: a variational autoencoder whose networks see the class."""
    given = lambda a, b: Joined(MLP(a + classes, (config.hidden,), b, rngs=rngs))
    return LatentVariableModel(
        prior=StandardNormal(config.style),
        likelihood=likelihood(given(config.style, shape)),
        posterior=Normal(given(int(np.prod(shape)), config.style)),
    )


def m2(config: Config, shape: Any, classes: int, likelihood: Any, rngs: nnx.Rngs) -> Classified:
    prior = OneHot(lambda _: jnp.zeros(classes), classes)
    part = of_class(config, shape, classes, likelihood, rngs)
    classifier = OneHot(MLP(shape, (config.hidden,), classes, rngs=rngs))
    return Classified(model=Summed(prior=prior, part=part), classifier=classifier)


def m1(config: Config, shape: Any, prior: Any, rngs: nnx.Rngs) -> LatentVariableModel:
    dim = config.latent
    return LatentVariableModel(
        prior=prior,
        likelihood=Bernoulli(MLP(dim, (config.hidden,), shape, rngs=rngs)),
        posterior=Normal(MLP(shape, (config.hidden,), dim, rngs=rngs)),
    )


def clusters(config: Config, rngs: nnx.Rngs) -> Summed:
    """Density of features: normal around the place of a cluster."""
    prior = OneHot(lambda _: jnp.zeros(config.clusters), config.clusters)
    return Summed(prior=prior, part=Normal(Places(config.clusters, config.latent, rngs=rngs)))


def build(config: Config, name: Name, shape: tuple[int, ...], classes: int) -> Any:
    rngs = nnx.Rngs(config.seed)
    if name == "M1":
        return m1(config, shape, StandardNormal(config.latent), rngs)
    if name == "M1+M2":
        features = m2(config, (config.latent,), classes, Normal, rngs)
        return Game(m1=m1(config, shape, StandardNormal(config.latent), rngs), m2=features)
    if name == "clusters":
        return m1(config, shape, clusters(config, rngs), rngs)
    return m2(config, shape, classes, Bernoulli, rngs)
