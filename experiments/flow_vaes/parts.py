"""The parts of the VAEs: sizes, fully connected networks, and flows of masked networks."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from genmix import bijectors as bij
from genmix import data
from genmix.data import Dataset
from genmix.families import Bernoulli, Normal
from genmix.nets import MADE, MLP


class Sizes(NamedTuple):
    """Dimensions of z, width of all hidden layers."""

    latent: int
    hidden: int


def is_small(dataset: Dataset) -> bool:
    return math.prod(dataset.train.shape[1:]) < 500


def sizes(latent: int | None, hidden: int | None, dataset: Dataset) -> Sizes:
    """What was asked for; else 20 and 100 for the digits, 40 and 300 for larger images."""
    default = Sizes(20, 100) if is_small(dataset) else Sizes(40, 300)
    return Sizes(latent or default.latent, hidden or default.hidden)


class Features(nnx.Module):
    """What all parameters of a posterior are computed from: two tanh layers on x."""

    def __init__(self, shape: tuple[int, ...], hidden: int, *, rngs: nnx.Rngs):
        self.network = MLP(shape, (hidden,), hidden, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.tanh(self.network(x))


class Parts(NamedTuple):
    """All of a VAE but its prior and the flow of its posterior."""

    likelihood: Bernoulli
    encoder: Features
    base: Normal  # of the posterior, given what the encoder gives


def common(size: Sizes, dataset: Dataset, rngs: nnx.Rngs) -> Parts:
    shape, (latent, hidden) = dataset.train.shape[1:], size
    decoder = MLP(latent, (hidden, hidden), shape, rngs=rngs)
    decoder.out.bias = nnx.Param(jnp.asarray(data.mean_logits(dataset.train)).reshape(-1))
    encoder = Features(shape, hidden, rngs=rngs)
    base = Normal(MLP(hidden, (), latent, rngs=rngs))
    return Parts(Bernoulli(decoder), encoder, base)


def inverse_autoregressive(size: Sizes, transformer: Any, flows: int, rngs: nnx.Rngs) -> Any:
    """A flow on z that is given the features of x, with a reversal after each layer."""
    latent, hidden = size

    def layer() -> Any:
        count = transformer.num_parameters
        made = MADE(latent, (hidden,), count, cond_size=hidden, rngs=rngs)
        return bij.chain([bij.inverse_autoregressive(made, transformer), bij.Reverse()])

    return bij.repeated([layer() for _ in range(flows)])


def nothing(size: Sizes) -> Any:
    """The flow of a diagonal posterior."""
    return bij.Permutation(range(size.latent))
