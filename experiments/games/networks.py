"""Networks of a generator and of a critic, as they suit events of a size."""

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from genmix.nets import MLP, DCGANCritic, DCGANGenerator, Joined, JoinedChannels

Network = Literal["mlp", "dcgan"]


def networks(
    kind: Network,
    in_size: int,
    shape: tuple[int, ...],
    *,
    given: int = 0,
    hidden: int | None = None,
    batch_norm: bool = True,
    rngs: nnx.Rngs,
) -> tuple[Any, Any]:
    """Vector -> event, where those of images are in [-1, 1], and event -> score.

    Args:
        kind: of images; points in the plane have an MLP.
        in_size: entries of the vector.
        given: numbers that the critic is given beside the event, as a pair.
        hidden: units between vector and convolutions, and between those and the score.
        batch_norm: whether a convolutional critic normalizes.
    """
    relu: dict[str, Any] = {"activation": jax.nn.relu, "rngs": rngs}
    if len(shape) == 1:
        return MLP(in_size, (128, 128), shape, **relu), MLP(shape, (128, 128), 1, **relu)
    if kind == "mlp":
        network = nnx.Sequential(MLP(in_size, (256, 256), shape, **relu), jnp.tanh)
        critic = MLP(math.prod(shape) + given if given else shape, (256, 256), 1, **relu)
        return network, Joined(critic) if given else critic
    network = DCGANGenerator(in_size, (128, 64), shape, hidden=hidden, rngs=rngs)
    seen = (*shape[:-1], shape[-1] + given)
    critic = DCGANCritic(seen, (64, 128), hidden=hidden, batch_norm=batch_norm, rngs=rngs)
    return network, JoinedChannels(critic) if given else critic
