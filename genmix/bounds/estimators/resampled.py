"""One particle, resampled by weight, carries the gradient of all k."""

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
    """Bound of k particles; gradient of the log-weight of one, drawn with probability a_i.

    a_i = dL / dlog w_i, the normalized weights for the importance-weighted bound. Unbiased for
    every bound whose a_i are not negative and sum to one (elbo, iwae, renyi, vr_max). Only one
    particle is differentiated, so a step costs less, and its gradient is noisier.

    Source: Burda, Grosse & Salakhutdinov (2016), arXiv:1509.00519, section 3.
    """
    particle_key, choice_key = jax.random.split(key)
    terms = particles(particle_key, weigh, reparameterized.draw, num_particles)
    terms = jax.lax.stop_gradient(terms)
    value, weights = jax.value_and_grad(bound)(terms.log_weight)
    chosen = jax.random.categorical(choice_key, jnp.log(weights))
    keys = jax.random.split(jax.random.clone(particle_key), num_particles)
    log_weight = weigh(keys[chosen], reparameterized.draw).log_weight
    return Estimate(with_gradient_of(value, log_weight), terms)


estimator = Estimator("resampled", estimate)
