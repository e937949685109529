"""A network whose normal distribution has one scale."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


class FixedScale(nnx.Module):
    """Loc by a network, and the raw scale that `FactorizedNormal` turns into `scale`.

    The normal adds its min_scale, so give it a small one.

    Args:
        network: condition -> loc.
        scale: standard deviation of each entry, positive.
    """

    def __init__(self, network: Callable[[Any], Array], scale: float):
        if not 0 < scale < math.inf:
            raise ValueError(f"scale must be positive and finite, got {scale}.")
        self.network = network
        self.raw = scale + math.log(-math.expm1(-scale))  # softplus of it is the scale

    def __call__(self, cond: Any) -> Float[Array, "..."]:
        loc = self.network(cond)
        return jnp.concatenate([loc, jnp.full_like(loc, self.raw)], axis=-1)
