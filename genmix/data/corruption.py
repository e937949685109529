"""Corruptions of events, (key, x) -> x, for denoising.

`families.SaltAndPepper(rate).sample` is one, too.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

Event = Float[Array, "*shape"]
Corrupt = Callable[[Key[Array, ""], Event], Event]


def gaussian(scale: float) -> Corrupt:
    """Noise of a standard deviation, added to each entry.

    Raises:
        ValueError: if the scale is not positive.
    """
    if not scale > 0:
        raise ValueError(f"scale must be positive, got {scale}.")
    return lambda key, x: x + scale * jax.random.normal(key, x.shape, x.dtype)


def masking(rate: float) -> Corrupt:
    """Entries set to zero, each with probability `rate`; the others stay what they are.

    Dropout divides them by 1 - rate, so that sums keep their mean: here x is to be seen as it is.

    Raises:
        ValueError: if the rate is not in (0, 1).
    """
    if not 0 < rate < 1:
        raise ValueError(f"rate must be between 0 and 1, got {rate}.")
    return lambda key, x: jnp.where(jax.random.bernoulli(key, rate, x.shape), 0, x)
