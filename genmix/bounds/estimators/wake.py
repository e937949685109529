"""The wake phase of reweighted wake-sleep: draws and their weights are data to learn from."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from genmix.bounds.bound import Bound
from genmix.bounds.estimator import Estimator
from genmix.bounds.estimators import score_function
from genmix.bounds.log_weight import Estimate, Weigh, particles, with_gradient_of


def estimate(
    key: Key[Array, ""],
    weigh: Weigh,
    bound: Bound,
    *,
    num_particles: int,
) -> Estimate:
    """Bound of k particles; gradient sum_i a_i d(log p(x, z_i) + log q(z_i | x)).

    All else is constant; a_i = dL / dlog w_i, for the importance-weighted bound the normalized
    weights. For prior and likelihood that is the gradient of the bound, without bias. For the
    posterior it is another: it goes down KL(p(z | x) || q(z | x)) with an expectation under p by
    self-normalized weights, whose bias falls with k; of one particle it has the mean 0.

    Source: Bornschein & Bengio (2015), arXiv:1406.2751, equations 5 and 8.
    """
    terms = particles(key, weigh, score_function.draw, num_particles)
    value, weights = jax.value_and_grad(bound)(jax.lax.stop_gradient(terms.log_weight))
    log_joint = terms.log_likelihood + jnp.sum(terms.log_prior, axis=-1)
    surrogate = jnp.vdot(weights, log_joint + jnp.sum(terms.log_posterior, axis=-1))
    return Estimate(with_gradient_of(value, surrogate), jax.lax.stop_gradient(terms))


estimator = Estimator("wake", estimate)
