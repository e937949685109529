"""Models with codes for a latent, and the priors of these."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from experiments.codes.config import Config, Kind
from genmix.data import Dataset
from genmix.densities import bernoulli, categorical
from genmix.families import (
    Autoregressive,
    Bernoulli,
    Categorical,
    Codebook,
    CodesOfBits,
    EnumeratedBoltzmann,
    LatentVariableModel,
    RestrictedBoltzmann,
    UniformCodes,
    VectorQuantized,
)
from genmix.families.latent import vector_quantized
from genmix.nets import MADE, GatedPixelCNN, MapDecoder, MapEncoder, StepwiseMADE


class Indicators(nnx.Module):
    """The encoder of codes: they enter as indicators."""

    def __init__(self, network: MapEncoder, num_codes: int):
        self.network, self.num_codes = network, num_codes

    def __call__(self, codes: jax.Array) -> jax.Array:
        return self.network(jax.nn.one_hot(codes, self.num_codes))


def pixelcnn(
    config: Config, places: tuple[int, ...], rngs: nnx.Rngs, encoder: Any = None
) -> Autoregressive:
    """Of codes, given a map of their own size if there is an encoder to it."""
    k = config.codes
    network = GatedPixelCNN(
        places, config.width, 3, cond_size=config.width if encoder else 0, rngs=rngs
    )
    codes = categorical.Categorical(num_levels=k, one_hot=True)
    return Autoregressive(network, codes, encoder=encoder)


def prior_of(config: Config, kind: Kind, places: tuple[int, ...], rngs: nnx.Rngs) -> Any:
    k = config.codes
    if kind.codes == "levels":
        codebook = Codebook(k, config.dim, rngs=rngs)
        top = tuple(side // 2 for side in places)
        encoder = MapEncoder((*places, k), (config.channels,), config.dim, rngs=rngs)
        decoder = MapDecoder(config.dim, (config.channels,), (*places, config.width), rngs=rngs)
        return VectorQuantized(
            prior=pixelcnn(config, top, rngs),
            likelihood=pixelcnn(config, places, rngs, decoder),
            encoder=Indicators(encoder, k),
            codebook=codebook,
        )
    bits = math.prod(places) * (k.bit_length() - 1)
    if kind.prior == "made":
        network = StepwiseMADE(MADE(bits, (config.hidden,), direct=True, rngs=rngs))
        return CodesOfBits(Autoregressive(network, bernoulli.Bernoulli()), places, k)
    if kind.prior == "rbm":
        machine = RestrictedBoltzmann(bits, 10, rngs=rngs)
        return CodesOfBits(EnumeratedBoltzmann(machine), places, k)
    return UniformCodes(places, k) if kind.prior == "uniform" else pixelcnn(config, places, rngs)


def build(config: Config, dataset: Dataset, kind: Kind) -> VectorQuantized | LatentVariableModel:
    shape, rngs = dataset.train.shape[1:], nnx.Rngs(config.seed)
    channels = (config.channels,) * config.halvings
    is_drawn = kind.codes == "drawn"
    outputs = config.codes if is_drawn else config.dim
    encoder = MapEncoder(shape, channels, outputs, rngs=rngs)
    decoder = MapDecoder(config.dim, channels, shape, rngs=rngs)
    codebook = Codebook(config.codes, config.dim, rngs=rngs)
    prior = prior_of(config, kind, encoder.out_shape[:2], rngs)
    if is_drawn:
        return LatentVariableModel(
            prior=prior,
            likelihood=Bernoulli(nnx.Sequential(codebook, decoder)),
            posterior=Categorical(encoder, num_levels=config.codes),
        )
    model = VectorQuantized(
        prior=prior, likelihood=Bernoulli(decoder), encoder=encoder, codebook=codebook
    )
    x = jnp.asarray(dataset.train[: 4 * config.batch_size])
    return vector_quantized.started(jax.random.fold_in(config.key, 1), model, x)
