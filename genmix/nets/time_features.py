"""A number, such as a level of noise, as waves that a network can tell apart."""

import math

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float


class TimeFeatures(nnx.Module):
    """Sines and cosines of u = (time - low) / (high - low), of half a wave to `num_waves` a unit.

    Args:
        size: features, an even number.
        span: (low, high), between which times lie; outside, the waves go on.
        num_waves: of the fastest.

    Raises:
        ValueError: if the size is odd or too small, or the span or the waves are out of order.

    Source: Vaswani et al. (2017), arXiv:1706.03762, section 3.5.
    """

    def __init__(
        self, size: int, *, span: tuple[float, float] = (-15.0, 10.0), num_waves: float = 8.0
    ):
        if size < 2 or size % 2:
            raise ValueError(f"TimeFeatures needs an even size of at least 2, got {size}.")
        if not span[0] < span[1] or num_waves < 0.5:
            raise ValueError(
                "TimeFeatures needs a span that rises and num_waves of at least 1/2, got "
                f"{span} and {num_waves}."
            )
        self.span = span
        angles = 2 * math.pi * np.geomspace(0.5, num_waves, size // 2)
        self.angles = tuple(angles.tolist())

    def __call__(self, time: Float[Array, ""]) -> Float[Array, " size"]:
        low, high = self.span
        angle = (time - low) / (high - low) * jnp.asarray(self.angles)
        return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)])
