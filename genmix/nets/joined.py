"""A network of several arrays."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PyTree


class Joined(nnx.Module):
    """Arrays, a pytree of them -> network(all their entries as one vector).

    Such as a generator given noise and a class, or a critic of pairs (x, z).
    """

    changes_inputs_alone = True

    def __init__(self, network: Callable[[Array], PyTree]):
        self.network = network

    def __call__(self, arrays: PyTree) -> PyTree:
        return self.network(joined(arrays))


def joined(arrays: PyTree) -> Float[Array, " entries"]:
    """The entries of all arrays as one vector."""
    return jnp.concatenate([jnp.reshape(a, -1) for a in jax.tree.leaves(arrays)])


class JoinedChannels(nnx.Module):
    """(image, vector) -> network(the image with a constant channel for each entry of the vector).

    Such as a convolutional critic of images and their classes.

    Source: Mirza & Osindero (2014), arXiv:1411.1784; Radford et al. (2016), arXiv:1511.06434.
    """

    changes_inputs_alone = True

    def __init__(self, network: Callable[[Array], PyTree]):
        self.network = network

    def __call__(self, pair: tuple[Float[Array, "height width channels"], Array]) -> PyTree:
        image, vector = pair
        maps = jnp.broadcast_to(vector, (*image.shape[:2], vector.size))
        return self.network(jnp.concatenate([image, maps], axis=-1))


class Stacked(nnx.Module):
    """Images of one size -> network(their channels together), such as noise and a coarse image."""

    def __init__(self, network: Callable[[Array], PyTree]):
        self.network = network

    def __call__(self, images: PyTree) -> PyTree:
        return self.network(jnp.concatenate(jax.tree.leaves(images), axis=-1))


class Added(nnx.Module):
    """Images of one shape -> network(their sum), such as LAPGAN's critic of (detail, coarse)."""

    def __init__(self, network: Callable[[Array], PyTree]):
        self.network = network

    def __call__(self, images: PyTree) -> PyTree:
        return self.network(jnp.sum(jnp.stack(jax.tree.leaves(images)), axis=0))
