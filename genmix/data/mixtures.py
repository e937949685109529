"""Mixtures of round normals in the plane, on which samples are judged by the modes they cover.

Source: Srivastava et al. (2017), arXiv:1705.07761, section 4.1.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key


class Mixture(NamedTuple):
    """Round normals of one scale in equal shares."""

    centres: np.ndarray  # [modes, 2]
    scale: float

    def draw(self, key: Key[Array, ""], num_points: int) -> Float[Array, "n 2"]:
        """Points of the mixture."""
        centre_key, noise_key = jax.random.split(key)
        centres = jnp.asarray(self.centres, jnp.float32)
        x = centres[jax.random.randint(centre_key, (num_points,), 0, len(centres))]
        return x + self.scale * jax.random.normal(noise_key, x.shape)


_ANGLES = 2 * np.pi * np.arange(8) / 8

BY_NAME = {
    "eight-gaussians": Mixture(2 * np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1), 0.02),
    "grid": Mixture(
        np.stack(np.meshgrid(*[np.arange(-4.0, 5.0, 2.0)] * 2), axis=-1).reshape(-1, 2), 0.05
    ),
}
"""Eight modes on a circle of radius 2, and five times five, two apart."""
