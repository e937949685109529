"""Planar flow."""

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


def forward_and_log_det(x: Vector, u: Vector, w: Vector, b: Scalar) -> tuple[Vector, LogDet]:
    """y = x + u' tanh(w . x + b) with its log-det in nats, for any u and w.

    u' is u moved along w until w . u' > -1, which makes the map invertible; the inverse has no
    closed form. The slope across the plane is at least 1e-4. The paper's function of w . u is not
    zero at zero, so that its u' grows without bound as w vanishes; here |u'| <= |u| there.

    Raises:
        ValueError: if the shapes of x, u and w differ.

    Source: Rezende & Mohamed (2015), arXiv:1505.05770, equations 10 to 12, appendix A.1.
    """
    check_shape("u", u, x.shape)
    check_shape("w", w, x.shape)
    u, wu = _invertible(u, w)
    h = jnp.tanh(jnp.dot(w, x) + b)
    # The slope 1 + (1 - h^2) w.u' as a sum of positive numbers.
    return x + u * h, jnp.log(h**2 + (1 - h**2) * (1 + wu))


def _invertible(u: Vector, w: Vector) -> tuple[Vector, Scalar]:
    """u' and w . u' > -1."""
    wu = jnp.dot(w, u)
    # The squares of small entries of w would vanish: direction = w / size has entries up to 1.
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(w)))
    size = jnp.where(largest > 0, largest, 1)
    direction = w / size
    square = jnp.where(largest > 0, jnp.dot(direction, direction), 1)
    # Near zero target - wu must keep its small digits, as it is divided by the size of w.
    near = jnp.log1p((1 - math.exp(MIN_SLOPE - 1)) * jnp.expm1(jnp.where(jnp.abs(wu) < 1, wu, 0)))
    far = MIN_SLOPE - 1 + softplus(wu + math.log(math.expm1(1 - MIN_SLOPE)))
    target = jnp.where(jnp.abs(wu) < 1, near, far)
    return u + (target - wu) / size / square * direction, jnp.where(largest > 0, target, 0)


class Planar(nnx.Module):
    """A planar flow on vectors of `dim` entries; it has no inverse, so it is for posteriors."""

    def __init__(self, dim: int, *, rngs: nnx.Rngs):
        if dim < 1:
            raise ValueError(f"dim must be positive, got {dim}.")
        scale = 1 / math.sqrt(dim)
        self.u = nnx.Param(0.1 * scale * jax.random.normal(rngs.params(), (dim,)))
        self.w = nnx.Param(scale * jax.random.normal(rngs.params(), (dim,)))
        self.b = nnx.Param(jnp.zeros(()))

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.u.shape

    def forward_and_log_det(self, x: Vector, cond: PyTree = None) -> tuple[Vector, LogDet]:
        del cond
        check_event(self, x, self.u.shape)
        return forward_and_log_det(x, self.u[...], self.w[...], self.b[...])
