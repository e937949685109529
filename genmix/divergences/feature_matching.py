"""Feature matching: a generator that reproduces the mean of some features."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def squared(real: Float[Array, "n ..."], fake: Float[Array, "m ..."]) -> Float[Array, ""]:
    """|mean of real features - mean of fake features|^2, summed over the features.

    Raises:
        ValueError: if the features of real and fake events differ in shape.
    Source: Salimans et al. (2016), arXiv:1606.03498, section 3.1.
    """
    if real.shape[1:] != fake.shape[1:]:
        raise ValueError(
            f"real and fake features must have one shape, got {real.shape[1:]} and "
            f"{fake.shape[1:]}."
        )
    return jnp.sum((jnp.mean(real, axis=0) - jnp.mean(fake, axis=0)) ** 2)
