"""What is compared: how each model is built, who trains it, and the part that is judged."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments.codes import config as codes_config
from experiments.codes import parts as codes
from experiments.vq_vae import player as player_of_codes
from genmix import bijectors as bij
from genmix import divergences, objectives
from genmix.data import Dataset
from genmix.densities.bernoulli import Bernoulli as Bits
from genmix.families import (
    Autoregressive,
    Bernoulli,
    Dequantized,
    DiscreteDiffusion,
    EnumeratedBoltzmann,
    Implicit,
    RestrictedBoltzmann,
    StandardNormal,
    transformed,
)
from genmix.nets import MADE, MLP, GatedPixelCNN, StepwiseMADE, TimeMLP
from genmix.objectives import Term
from genmix.training import Game, Player


class Sizes(Protocol):
    """What the settings say of every model."""

    @property
    def seed(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def hidden(self) -> int: ...
    @property
    def latent(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    def falling(self, steps: int | None = None, rate: float | None = None) -> optax.Schedule: ...


def _itself(game: Any) -> Any:
    return game


class Candidate(NamedTuple):
    """A model to be trained and judged.

    Attributes:
        build: makes what is trained.
        players: who train it.
        part: what is judged of it.
        is_flat: whether its events are vectors of pixels.
        continuous: whether it is trained on images in [0, 1) with uniform noise in each bin.
    """

    build: Callable[[], Any]
    players: Sequence[Player]
    part: Callable[[Any], Any] = _itself
    is_flat: bool = False
    continuous: bool = False


def _alone(sizes: Sizes, loss: Term, rate: float | None = None) -> list[Player]:
    clipped = optax.clip_by_global_norm(100.0)
    return [Player(loss=loss, optimizer=optax.chain(clipped, optax.adam(sizes.falling(rate=rate))))]


class Constant(nnx.Module):
    """Logits that depend on nothing, which start as those of the pixels' means."""

    def __init__(self, means: np.ndarray):
        means = np.clip(means, 1e-3, 1 - 1e-3)
        self.logits = nnx.Param(jnp.asarray(np.log(means / (1 - means)), jnp.float32))

    def __call__(self, cond: Any) -> jax.Array:
        del cond
        return self.logits[...]


def independent(sizes: Sizes, dataset: Dataset) -> Candidate:
    """Each pixel by itself."""
    build = lambda: Bernoulli(Constant(np.mean(dataset.train, axis=0)))
    return Candidate(build, _alone(sizes, objectives.elbo()))


def made(sizes: Sizes, dataset: Dataset) -> Candidate:
    """Pixels after each other, by masks of one network."""
    shape = dataset.train.shape[1:]

    def build() -> Autoregressive:
        network = MADE(math.prod(shape), (2 * sizes.hidden,), direct=True, rngs=_rngs(sizes))
        return Autoregressive(StepwiseMADE(network), Bits(), shape=shape)

    return Candidate(build, _alone(sizes, objectives.elbo()))


def pixelcnn(sizes: Sizes, dataset: Dataset) -> Candidate:
    """Pixels after each other, by convolutions."""
    shape = dataset.train.shape[1:]

    def build() -> Autoregressive:
        network = GatedPixelCNN(shape[:2], 16, 4, first_kernel_size=5, rngs=_rngs(sizes))
        return Autoregressive(network, Bits(), shape=shape)

    return Candidate(build, _alone(sizes, objectives.elbo()))


def _couplings(sizes: Sizes, dim: int) -> Any:
    """Density of a vector in [0, 1]: spline couplings under a sigmoid."""
    rngs, half = _rngs(sizes), dim // 2
    spline = bij.RationalQuadratic(num_bins=8, bound=6.0)

    def layer(i: int) -> Any:
        order = np.random.default_rng(i).permutation(dim).tolist()
        out = {"num_outputs": spline.num_parameters, "activation": jax.nn.relu, "rngs": rngs}
        network = MLP(half, (sizes.hidden, sizes.hidden), dim - half, **out)
        network.out.kernel[...] = 0.1 * network.out.kernel[...]
        return bij.chain([bij.coupling_layer(network, spline, split=half), bij.Permutation(order)])

    layers = [layer(i) for i in range(4)]
    bijector = bij.chain([*layers, bij.Affine(dim), bij.Sigmoid(margin=1e-3)])
    return transformed(StandardNormal(dim), bijector)


def _dequantized(game: Any) -> Dequantized:
    return Dequantized(game.generator if isinstance(game, Game) else game, num_levels=2)


def flow(sizes: Sizes, dataset: Dataset) -> Candidate:
    """An invertible map of noise, under uniform noise in each bin of a pixel."""
    dim = math.prod(dataset.train.shape[1:])
    return Candidate(
        lambda: _couplings(sizes, dim), _alone(sizes, objectives.elbo()), _dequantized, True, True
    )


def _judged_by_critic(sizes: Sizes, term: Term) -> list[Player]:
    """A critic and what it teaches, a step each."""
    smooth = objectives.critic(objectives.data, divergences.gan.non_saturating)
    smooth += 0.1 * objectives.r1(objectives.data)
    optimizer = lambda: optax.adam(sizes.falling(), b1=0.5)
    return [
        Player(name="critic", loss=smooth.of("generator"), optimizer=optimizer()),
        Player(name="generator", loss=term.of("generator"), optimizer=optimizer()),
    ]


def flow_gan(sizes: Sizes, dataset: Dataset) -> Candidate:
    """The same flow, taught by its likelihood and by a critic of its samples."""
    dim = math.prod(dataset.train.shape[1:])

    def build() -> Game:
        critic = MLP(
            dim, (sizes.hidden, sizes.hidden), 1, activation=jax.nn.relu, rngs=_rngs(sizes)
        )
        return Game(generator=_couplings(sizes, dim), critic=critic)

    both = objectives.elbo() + 10.0 * objectives.generator(
        objectives.data, divergences.gan.non_saturating
    )
    return Candidate(build, _judged_by_critic(sizes, both), _dequantized, True, True)


def gan(sizes: Sizes, dataset: Dataset) -> Candidate:
    """Samples without a density, taught by a critic alone."""
    shape, hidden = dataset.train.shape[1:], (2 * sizes.hidden, 2 * sizes.hidden)

    def build() -> Game:
        relu: dict[str, Any] = {"activation": jax.nn.relu, "rngs": _rngs(sizes)}
        means = nnx.Sequential(MLP(sizes.latent, hidden, shape, **relu), jax.nn.sigmoid)
        generator = Implicit(StandardNormal(sizes.latent), means)
        return Game(generator=generator, critic=MLP(shape, hidden, 1, **relu))

    term = objectives.generator(objectives.data, divergences.gan.non_saturating)
    return Candidate(build, _judged_by_critic(sizes, term), lambda game: game.generator)


def boltzmann(sizes: Sizes, dataset: Dataset) -> Candidate:
    """Binary hidden units, so few that the normalizer is a sum; persistent chains train it."""
    dim, hidden = math.prod(dataset.train.shape[1:]), min(sizes.hidden, 14)

    def build() -> RestrictedBoltzmann:
        machine = RestrictedBoltzmann(dim, hidden, rngs=_rngs(sizes))
        means = np.clip(np.mean(dataset.train, axis=0), 1e-3, 1 - 1e-3).reshape(-1)
        machine.visible_bias[...] = machine.visible.field_of_mean(jnp.asarray(means, jnp.float32))
        return machine

    bits = np.random.default_rng(sizes.seed).random((sizes.batch_size, dim)) < 0.5
    term = objectives.persistent_contrastive_divergence(jnp.asarray(bits, jnp.float32), 1)
    return Candidate(build, _alone(sizes, term), EnumeratedBoltzmann, True)


def diffusion(sizes: Sizes, dataset: Dataset) -> Candidate:
    """Pixels that are masked one after the other, and a network that fills them in."""
    dim = math.prod(dataset.train.shape[1:])

    def build() -> DiscreteDiffusion:
        network = TimeMLP(
            (dim, 3), 2 * sizes.hidden, 2, out_shape=(dim, 2), span=(0.0, 1.0), rngs=_rngs(sizes)
        )
        return DiscreteDiffusion(
            network, shape=(dim,), num_levels=2, num_steps=dim, is_absorbing=True
        )

    return Candidate(build, _alone(sizes, objectives.diffusion.bound()), is_flat=True)


def vq_vae(sizes: Sizes, dataset: Dataset) -> Candidate:
    """Codes of a codebook, and a PixelCNN of the codes."""
    config = codes_config.Config(
        model=("pixelcnn",),
        seed=sizes.seed,
        steps=sizes.steps,
        batch_size=sizes.batch_size,
        learning_rate=sizes.learning_rate,
    )
    kind = codes_config.KINDS["pixelcnn"]
    return Candidate(lambda: codes.build(config, dataset, kind), [player_of_codes(config, kind)])


def _rngs(sizes: Sizes) -> nnx.Rngs:
    return nnx.Rngs(sizes.seed)


CANDIDATES: dict[str, Callable[[Sizes, Dataset], Candidate]] = {
    "independent pixels": independent,
    "MADE": made,
    "PixelCNN": pixelcnn,
    "flow": flow,
    "RBM": boltzmann,
    "diffusion of bits": diffusion,
    "VQ-VAE + PixelCNN": vq_vae,
    "GAN": gan,
    "FlowGAN": flow_gan,
}
