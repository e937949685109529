"""The parts that the grid's choices name."""

import functools
import math
from typing import Any

import jax.numpy as jnp
import optax
from flax import nnx

from experiments import study
from experiments.grid.config import Config
from genmix.bijectors import (
    DeepSigmoid,
    Gate,
    Householder,
    HouseholderSylvester,
    OrthogonalSylvester,
    Permutation,
    Planar,
    Radial,
    Reverse,
    ShiftScale,
    TriangularSylvester,
    amortized,
    chain,
    coupling_layer,
    inverse_autoregressive,
    masked_autoregressive,
    num_parameters,
    repeated,
)
from genmix.data import Dataset
from genmix.densities import bernoulli, normal
from genmix.densities.discretized_logistic_mixture import DiscretizedLogisticMixture
from genmix.families import (
    Autoregressive,
    Bernoulli,
    Denoiser,
    Diffusion,
    DiscretizedLogistic,
    FullNormal,
    GaussianMixture,
    Hamiltonian,
    LatentVariableModel,
    Normal,
    Optimized,
    Resampled,
    RestrictedBoltzmann,
    StandardNormal,
    StraightThrough,
    VampPrior,
    transformed,
)
from genmix.families.diffusion.schedules import Linear
from genmix.nets import (
    MADE,
    MLP,
    ConvDecoder,
    ConvEncoder,
    GatedPixelCNN,
    Joined,
    Rescale,
    StepwiseMADE,
    TimeMLP,
)

UNITS = 20  # hidden, of an rbm: its normalizer can be summed
CHANNELS = (32, 64)  # of the convolutional networks, from the image on


def build(config: Config, dataset: Dataset) -> LatentVariableModel:
    hidden = width(config, dataset)
    rngs = nnx.Rngs(config.seed)
    likelihood = decoder(config, dataset, hidden, rngs)
    if config.adversarial in ("data", "joint"):  # a critic's gradient has to pass its draws
        likelihood = StraightThrough(likelihood)
    if config.prior == "vamp" and config.components > len(dataset.train):
        raise ValueError(
            f"components must be at most the {len(dataset.train)} training images, which "
            f"the inputs of --prior vamp start as, got {config.components}."
        )
    if config.prior == "vamp":  # a mixture of this very posterior, at inputs that start as images
        images = jnp.asarray(dataset.train[: config.components])
        latents = VampPrior(images, bounds=(0.0, dataset.num_levels - 1.0))
    else:
        latents = prior(config, hidden, rngs)
    return LatentVariableModel(
        prior=latents,
        likelihood=likelihood,
        posterior=posterior(config, dataset, hidden, rngs),
    )


def width(config: Config, dataset: Dataset) -> int:
    """Of the fully connected layers."""
    return config.hidden or study.by_size(dataset.train.shape[1:], 100, 300)


def prior(config: Config, hidden: int, rngs: nnx.Rngs) -> Any:
    """p(z), all but vamp."""
    dim = config.latent
    if config.prior == "normal":
        return StandardNormal(dim)
    if config.prior == "gmm":
        return GaussianMixture(config.components, dim, rngs=rngs)
    if config.prior == "rbm":
        return RestrictedBoltzmann(dim, UNITS, visible=normal.Normal(scale=1.0), rngs=rngs)
    if config.prior == "diffusion":  # from the noise to the scale of latents and below
        network = TimeMLP((dim,), hidden, 2, rngs=rngs)
        return Diffusion(Denoiser(network), shape=(dim,), schedule=Linear(-6.0, 6.0), num_steps=100)
    if config.prior == "hierarchical":
        width, inner = max(hidden // 2, 1), max(dim // 2, 1)
        return LatentVariableModel(
            prior=StandardNormal(inner),
            likelihood=Normal(MLP(inner, (width, width), dim, rngs=rngs)),
            posterior=Normal(MLP(dim, (width, width), inner, rngs=rngs)),
        )

    def layer() -> Any:
        if config.prior == "maf":
            made = MADE(dim, (max(hidden, dim),), 2, activation=jnp.tanh, rngs=rngs)
            return chain([masked_autoregressive(made, ShiftScale()), Reverse()])
        half = dim // 2
        network = MLP(half, (hidden,), dim - half, num_outputs=2, rngs=rngs)
        exchange = Permutation((*range(half, dim), *range(half)))
        return chain([coupling_layer(network, ShiftScale(), split=half), exchange])

    return transformed(StandardNormal(dim), repeated([layer() for _ in range(config.flow_layers)]))


def posterior(config: Config, dataset: Dataset, hidden: int, rngs: nnx.Rngs) -> Any:
    """q(z | x): the plain one, and its wrappers around it."""
    around = plain_posterior(config, dataset, hidden, rngs)
    for name, count in config.inference.wrappers:
        if name == "resampled":
            around = Resampled(around, count)
        elif name == "optimized":
            steps = optax.adam(0.1, eps_root=1e-8)  # without it a slope of 0 has no gradient
            around = Optimized(around, count, optimizer=steps)
        else:
            pair = config.latent + math.prod(dataset.train.shape[1:])
            network = Joined(MLP(pair, (hidden,), config.latent, rngs=rngs))
            around = Hamiltonian(around, Normal(network), num_leapfrog=count)
    return around


def plain_posterior(config: Config, dataset: Dataset, hidden: int, rngs: nnx.Rngs) -> Any:
    """A flow's base and layers are given the same features of x."""
    plain = config.inference.plain
    network = functools.partial(encoder, config, dataset, hidden, rngs)
    if plain == "diagonal":
        return Normal(network(config.latent))
    if plain == "full":
        return FullNormal(network(config.latent))
    return transformed(
        Normal(MLP(hidden, (), config.latent, rngs=rngs)),
        conditional_flow(config, hidden, rngs),
        encoder=network(hidden),
    )


def encoder(config: Config, dataset: Dataset, hidden: int, rngs: nnx.Rngs, out_size: int) -> Any:
    """A network from an image to `out_size` numbers."""
    shape = dataset.train.shape[1:]
    if config.decoder == "bernoulli-conv":
        return ConvEncoder(shape, CHANNELS, out_size, rngs=rngs)
    network = MLP(shape, (hidden, hidden), out_size, rngs=rngs)
    middle = (dataset.num_levels - 1) / 2
    return Rescale(network, loc=middle, scale=middle)


def conditional_flow(config: Config, hidden: int, rngs: nnx.Rngs) -> Any:
    """Layers with parameters (or, in IAF and NAF, networks) that are given the features of x."""
    dim, plain = config.latent, config.inference.plain
    kind = f"{config.sylvester or 'orthogonal'} sylvester"
    if plain in ("iaf", "naf"):
        transformer = Gate() if plain == "iaf" else DeepSigmoid()
        size = transformer.num_parameters
        made = lambda: MADE(
            dim, (max(hidden, dim),), size, cond_size=hidden, activation=jnp.tanh, rngs=rngs
        )
        layer = lambda: chain([inverse_autoregressive(made(), transformer), Reverse()])
        return repeated([layer() for _ in range(config.flow_layers)])
    layers = {
        "planar": lambda: Planar(dim, rngs=rngs),
        "radial": lambda: Radial(dim, rngs=rngs),
        "householder": lambda: Householder(dim, 1, rngs=rngs),
        "orthogonal sylvester": lambda: OrthogonalSylvester(dim, max(dim // 2, 1), rngs=rngs),
        "householder sylvester": lambda: HouseholderSylvester(dim, min(dim, 4), rngs=rngs),
        "triangular sylvester": lambda: chain([TriangularSylvester(dim, rngs=rngs), Reverse()]),
    }
    layer = layers[kind if plain == "sylvester" else plain]
    flow = repeated([layer() for _ in range(config.flow_layers)])
    small = nnx.initializers.variance_scaling(0.01, "fan_in", "normal")
    network = nnx.Linear(hidden, num_parameters(flow), kernel_init=small, rngs=rngs)
    return amortized(flow, network)


def decoder(config: Config, dataset: Dataset, hidden: int, rngs: nnx.Rngs) -> Any:
    """p(x | z)."""
    height, width, channels = dataset.train.shape[1:]
    network = functools.partial(MLP, config.latent, (hidden, hidden), rngs=rngs)
    if config.decoder == "bernoulli-mlp":
        return Bernoulli(network((height, width, channels)))
    if config.decoder == "bernoulli-conv":
        shape = (height, width, channels)
        return Bernoulli(ConvDecoder(config.latent, CHANNELS[::-1], shape, rngs=rngs))
    if config.decoder == "discretized-logistic":
        shape = (height, width, channels)
        return DiscretizedLogistic(network(shape), num_levels=dataset.num_levels)
    levels: Any = bernoulli.Bernoulli()
    if dataset.num_levels > 2:
        several = channels if config.decoder == "pixelcnn" else 1
        levels = DiscretizedLogisticMixture(num_channels=several, num_levels=dataset.num_levels)
    if config.decoder == "made":
        made = MADE(
            height * width * channels, (hidden,), cond_size=hidden, activation=jnp.tanh,
            direct=True, rngs=rngs,
        )  # fmt: skip
        pixels, given = StepwiseMADE(made), network(hidden)
    else:
        pixels = GatedPixelCNN(
            (height, width), config.width, 2, first_kernel_size=3, cond_size=config.width, rngs=rngs
        )  # fmt: skip
        given = network((height, width, config.width))
    return Autoregressive(pixels, levels, shape=(height, width, channels), encoder=given)
