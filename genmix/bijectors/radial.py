"""Radial flow."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PyTree

from genmix.bijectors.directions import LogDet, check_event
from genmix.densities.logistic import softplus
from genmix.densities.multivariate_normal import check_shape

Vector = Float[Array, " _"]
Scalar = Float[Array, ""]

MIN_SLOPE = 1e-4


def forward_and_log_det(
    x: Vector, centre: Vector, alpha: Scalar, beta: Scalar
) -> tuple[Vector, LogDet]:
    """y = x + beta (x - centre) / (alpha + |x - centre|) with its log-det in nats.

    Invertible for alpha > 0 and beta > -alpha; NaN log-det otherwise.

    Raises:
        ValueError: if the shapes of x and centre differ.

    Source: Rezende & Mohamed (2015), arXiv:1505.05770, equations 13 and 14.
    """
    check_shape("centre", centre, x.shape)
    r = _norm(x - centre)
    stretch = 1 + beta / (alpha + r)
    return centre + stretch * (x - centre), _log_det(r, x.size, alpha, beta)


def inverse_and_log_det(
    y: Vector, centre: Vector, alpha: Scalar, beta: Scalar
) -> tuple[Vector, LogDet]:
    """The x that `forward_and_log_det` takes to y, with its log-det in nats.

    The distance to the centre is the positive root of r^2 + (alpha + beta - s) r = alpha s, where s
    is that of y.
    """
    check_shape("centre", centre, y.shape)
    s = _norm(y - centre)
    half = (s - alpha - beta) / 2
    root = jnp.sqrt(half**2 + alpha * s)
    # Of the two forms of the root, the one that subtracts nothing.
    below = alpha * s / jnp.where(half < 0, root - half, 1)
    r = jnp.where(half < 0, below, half + root)
    stretch = 1 + beta / (alpha + r)
    return centre + (y - centre) / stretch, -_log_det(r, y.size, alpha, beta)


def _norm(x: Vector) -> Scalar:
    """Euclidean norm, with zero gradient at zero."""
    square = jnp.sum(x**2)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def _log_det(r: Scalar, dim: int, alpha: Scalar, beta: Scalar) -> Scalar:
    valid = (alpha > 0) & (beta > -alpha)
    across = jnp.log1p(beta / (alpha + r))
    along = jnp.log1p(alpha * beta / (alpha + r) ** 2)
    return jnp.where(valid, (dim - 1) * across + along, jnp.nan)


class Radial(nnx.Module):
    """A radial flow on vectors of `dim` entries; it starts as the identity.

    For any parameters alpha = softplus(raw_alpha) + 1e-4 and beta = alpha (t - 1), where
    t = softplus(raw_beta + constant) + 1e-4, the smallest stretch, is 1 at raw_beta = 0.
    """

    def __init__(self, dim: int, *, rngs: nnx.Rngs):
        if dim < 1:
            raise ValueError(f"dim must be positive, got {dim}.")
        self.centre = nnx.Param(jax.random.normal(rngs.params(), (dim,)))
        self.raw_alpha = nnx.Param(jnp.full((), math.log(math.expm1(1.0))))
        self.raw_beta = nnx.Param(jnp.zeros(()))

    @property
    def alpha_and_beta(self) -> tuple[Scalar, Scalar]:
        """Both numbers in the range where the map is invertible."""
        alpha = MIN_SLOPE + softplus(self.raw_alpha[...])
        raw = self.raw_beta[...] + math.log(math.expm1(1 - MIN_SLOPE))
        return alpha, alpha * (MIN_SLOPE - 1 + softplus(raw))

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.centre.shape

    def forward_and_log_det(self, x: Vector, cond: PyTree = None) -> tuple[Vector, LogDet]:
        del cond
        check_event(self, x, self.centre.shape)
        return forward_and_log_det(x, self.centre[...], *self.alpha_and_beta)

    def inverse_and_log_det(self, y: Vector, cond: PyTree = None) -> tuple[Vector, LogDet]:
        del cond
        check_event(self, y, self.centre.shape)
        return inverse_and_log_det(y, self.centre[...], *self.alpha_and_beta)
