"""Between the real line and an interval by the logistic function; its inverse is the logit map."""

import jax.numpy as jnp
from flax import nnx
from jax.nn import sigmoid
from jaxtyping import PyTree

from genmix.bijectors.directions import Event, LogDet
from genmix.densities.logistic import softplus


class Sigmoid(nnx.Module):
    """margin + (1 - 2 margin) y = sigmoid(x), entry by entry.

    With a margin, data of [0, 1], edges included, come from x of bounded size, as in the logit
    preprocessing of images (margin 1e-6 for MAF, 0.05 for RealNVP). An entry whose sigmoid would
    not lie strictly between 0 and 1 is off the support: x is 0 there and the log-det -inf, with
    zero gradients; NaN stays NaN.

    Source: Dinh et al. (2017), arXiv:1605.08803, section 4.1.
    """

    def __init__(self, *, margin: float = 0.0):
        if not 0 <= margin < 0.5:
            raise ValueError(f"margin must be at least 0 and below 0.5, got {margin}.")
        self.margin = margin

    @property
    def event_shape(self) -> None:
        return None

    def forward_and_log_det(self, x: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        del cond
        y = (sigmoid(x) - self.margin) / (1 - 2 * self.margin)
        return y, self._log_det(x)

    def inverse_and_log_det(self, y: Event, cond: PyTree = None) -> tuple[Event, LogDet]:
        del cond
        s = self.margin + (1 - 2 * self.margin) * y
        outside = (s <= 0) | (s >= 1)
        safe = jnp.where(outside, 0.5, s)
        x = jnp.log(safe) - jnp.log1p(-safe)
        return x, jnp.where(jnp.any(outside), -jnp.inf, -self._log_det(x))

    def _log_det(self, x: Event) -> LogDet:
        return jnp.sum(-softplus(x) - softplus(-x) - jnp.log1p(-2 * self.margin))
