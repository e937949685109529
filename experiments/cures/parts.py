"""PixelVAEs, and parts that keep them from collapse."""

from typing import Any

from flax import nnx

from experiments.cures.config import Config, Name
from genmix.densities import bernoulli
from genmix.densities.von_mises_fisher import VonMisesFisher
from genmix.families import (
    Autoregressive,
    AutoregressiveNormal,
    Bernoulli,
    Conditional,
    InputDropout,
    LatentVariableModel,
    Normal,
    StandardNormal,
    Unconditional,
)
from genmix.nets import MLP, GatedPixelCNN
from genmix.objectives import Multiplier
from genmix.training import Game


def build(config: Config, name: Name, shape: tuple[int, ...]) -> Any:
    rngs, dim = nnx.Rngs(config.seed), config.latent
    mlp = lambda a, b: MLP(a, (config.hidden,), b, rngs=rngs)
    first, rest = (3, 1) if name == "small reach" else (7, 3)
    likelihood: Any = Bernoulli(mlp(dim, shape))
    if name != "independent pixels":
        network = GatedPixelCNN(
            shape[:2], config.width, config.layers, kernel_size=rest, first_kernel_size=first,
            cond_size=config.width, rngs=rngs,
        )  # fmt: skip
        encoder = mlp(dim, (*shape[:2], config.width))
        likelihood = Autoregressive(network, bernoulli.Bernoulli(), shape=shape, encoder=encoder)
    if name == "dropped inputs":
        likelihood = InputDropout(likelihood, config.dropout)
    prior: Any = StandardNormal(dim)
    posterior: Any = Normal(mlp(shape, dim))
    if name == "committed rate":
        prior = AutoregressiveNormal(dim, correlation=config.correlation)
    if name == "von Mises-Fisher":
        prior = Unconditional(VonMisesFisher(dim, concentration=0.0))
        record = VonMisesFisher(dim, concentration=config.concentration)
        posterior = Conditional(mlp(shape, dim), record)
    model = LatentVariableModel(prior=prior, likelihood=likelihood, posterior=posterior)
    return Game(model=model, multiplier=Multiplier()) if "constrained" in name else model
