"""Principal components: the best linear autoencoder."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float


class PCA(NamedTuple):
    """Directions of most variance; of a linear autoencoder the same plane, in other coordinates.

    `decode(encode(x))` has a mean squared distance to x of `discarded` over the events that it was
    fitted to, and no linear autoencoder of as many numbers has less.

    Source: Baldi & Hornik (1989), Neural networks and principal component analysis, Neural Networks
    2(1).
    """

    mean: Float[Array, " dim"]
    components: Float[Array, "k dim"]  # orthonormal, the first of most variance
    variances: Float[Array, " all"]  # along every direction, those left out behind the first k

    def encode(self, x: Float[Array, " dim"]) -> Float[Array, " k"]:
        return self.components @ (x - self.mean)

    def decode(self, z: Float[Array, " k"]) -> Float[Array, " dim"]:
        return self.mean + z @ self.components

    @property
    def projector(self) -> Float[Array, "dim dim"]:
        """Onto the plane of the components: what two autoencoders can be compared by."""
        return self.components.T @ self.components

    @property
    def discarded(self) -> Float[Array, ""]:
        """Sum of the variances along the directions that are left out."""
        return jnp.sum(self.variances[len(self.components) :])


def fit(x: Float[Array, "n dim"], num_components: int) -> PCA:
    """Principal components of events; variances are of these, divided by n.

    Raises:
        ValueError: if num_components is not in 1 .. min(n, dim).
    """
    if not 1 <= num_components <= min(x.shape):
        raise ValueError(
            f"num_components must be between 1 and {min(x.shape)}, the smaller of the number of "
            f"events and their entries, got {num_components}."
        )
    mean = jnp.mean(x, axis=0)
    _, scales, directions = jnp.linalg.svd(x - mean[None], full_matrices=False)
    return PCA(mean, directions[:num_components], scales**2 / len(x))
