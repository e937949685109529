"""DReG: the score term that is left in the gradient of a bound, reparameterized once more."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from genmix.bounds.bound import Bound
from genmix.bounds.estimator import Estimator
from genmix.bounds.estimators import reparameterized, sticking_the_landing
from genmix.bounds.log_weight import Draw, Estimate, Weigh, map_particles, particles
from genmix.capabilities import one_number, require_log_prob


@jax.custom_vjp
def _scale_gradient(x: PyTree, factor: Array) -> PyTree:
    del factor
    return x


def _scale_forward(x: PyTree, factor: Array) -> tuple[PyTree, Array]:
    return x, factor


def _scale_backward(factor: Array, cotangent: PyTree) -> tuple[PyTree, Array]:
    scaled = jax.tree.map(
        lambda c: c if c.dtype == jax.dtypes.float0 else c * factor.astype(c.dtype), cotangent
    )
    return scaled, jnp.zeros_like(factor)


_scale_gradient.defvjp(_scale_forward, _scale_backward)


def draw(factor: Float[Array, ""]) -> Draw:
    """A draw whose path gradient reaches the posterior's parameters multiplied by `factor`.

    The condition of an inner layer is itself a sample, scaled where it was drawn; on its way there
    the factor is taken out again, so that it counts once on every path.
    """
    inverse = jnp.where(factor > 0, 1 / jnp.where(factor > 0, factor, 1), 0)

    def scaled(
        posterior: Any, key: Key[Array, ""], cond: PyTree
    ) -> tuple[PyTree, Float[Array, ""]]:
        require_log_prob(posterior)
        fixed = jax.tree.map(jax.lax.stop_gradient, posterior)
        z, _ = reparameterized.draw(posterior, key, _scale_gradient(cond, inverse))
        z = _scale_gradient(z, factor)
        return z, one_number(fixed.log_prob(z, cond), posterior, "log_prob")

    return scaled


def path_factors(bound: Bound, log_weights: Float[Array, " k"]) -> Float[Array, " k"]:
    """How much less the path gradient counts than the particle's weight in the bound's gradient.

    With a bound L and its gradient a_i = dL / dlog w_i, the score term E[a_i dlog q(z_i)/dphi] is,
    reparameterized again, -(d a_i / dlog w_i) dlog w_i / dz_i. So paths count a_i - H_ii in place
    of a_i: squared normalized weights for the importance-weighted bound.
    """
    gradient = jax.grad(bound)(log_weights)
    reached = gradient > 0
    if bound.path_factors is not None:
        factors = bound.path_factors(gradient)
    else:
        curvature = jnp.diag(jax.hessian(bound)(log_weights))
        factors = 1 - curvature / jnp.where(reached, gradient, 1)
    return jnp.where(reached, factors, 0)


def estimate(key: Key[Array, ""], weigh: Weigh, bound: Bound, *, num_particles: int) -> Estimate:
    """Bound of k particles with doubly reparameterized gradients for the posterior.

    Unbiased for every bound that is twice differentiable in the log-weights and non-decreasing in
    each: elbo (where it equals sticking the landing), iwae, renyi; not vr_max. The model's
    parameters get the plain gradient. The particles stand twice in the program, first for their
    weights; the compiler computes what both share once.

    Source: Tucker, Lawson, Gu & Maddison (2019), arXiv:1810.04152, equation 8.
    """
    terms = particles(key, weigh, sticking_the_landing.draw, num_particles)
    factors = path_factors(bound, jax.lax.stop_gradient(terms.log_weight))
    keys = jax.random.split(jax.random.clone(key), num_particles)
    again = map_particles(lambda key, factor: weigh(key, draw(factor)), keys, factors)
    return Estimate(bound(again.log_weight), jax.lax.stop_gradient(again))


estimator = Estimator("doubly reparameterized", estimate, needs_smooth=True)
