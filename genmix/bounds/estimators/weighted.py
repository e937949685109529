"""The gradient of a bound as a weighted sum over particles."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from genmix.bounds.bound import Bound
from genmix.bounds.estimator import Estimator
from genmix.bounds.estimators import reparameterized
from genmix.bounds.log_weight import Estimate, Weigh, particles, with_gradient_of


def estimate(
    key: Key[Array, ""],
    weigh: Weigh,
    bound: Bound,
    *,
    num_particles: int,
) -> Estimate:
    """Bound of k particles; gradient sum_i a_i dlog w_i with a_i = dL / dlog w_i held constant.

    For the importance-weighted bound a_i are the normalized weights. The same gradient as
    `reparameterized`, written as in the paper.

    Source: Burda, Grosse & Salakhutdinov (2016), arXiv:1509.00519, equation 14.
    """
    terms = particles(key, weigh, reparameterized.draw, num_particles)
    value, weights = jax.value_and_grad(bound)(jax.lax.stop_gradient(terms.log_weight))
    surrogate = jnp.vdot(weights, terms.log_weight)
    return Estimate(with_gradient_of(value, surrogate), jax.lax.stop_gradient(terms))


estimator = Estimator("weighted", estimate)
