"""Between the real line and (-1, 1) by the hyperbolic tangent."""

import math

import jax.numpy as jnp
from flax import nnx
from jaxtyping import PyTree

from genmix.bijectors.directions import Event, LogDet
from genmix.densities.logistic import softplus


class Tanh(nnx.Module):
    """y = tanh(x), entry by entry.

    An entry with |y| >= 1 is off the support: x is 0 there and the log-det -inf, with zero
    gradients; NaN stays NaN.
    """

    @property
    def event_shape(self) -> None:
        return None

    def forward_and_log_det(self, x: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        del cond
        return jnp.tanh(x), _log_det(x)

    def inverse_and_log_det(self, y: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        del cond
        outside = jnp.abs(y) >= 1
        x = jnp.arctanh(jnp.where(outside, 0, y))
        return x, jnp.where(jnp.any(outside), -jnp.inf, -_log_det(x))


def _log_det(x: Event) -> LogDet:
    # log(1 - tanh(x)^2) without the difference of two numbers near 1.
    return jnp.sum(2 * (math.log(2) - softplus(2 * x) + x))
