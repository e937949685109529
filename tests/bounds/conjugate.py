"""A model whose bounds and their gradients are known: z ~ N(0, 1), x | z ~ N(slope z, 1/2)."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm

from genmix.bounds.log_weight import Terms

X = 0.7
NOISE = 0.5


class Posterior:
    """N(loc, scale^2), whatever the condition."""

    def __init__(self, loc, scale):
        self.loc, self.scale = loc, scale

    def log_prob(self, z, cond=None):
        return norm.logpdf(z, self.loc, self.scale)

    def sample(self, key, cond=None):
        return self.loc + self.scale * jax.random.normal(key)

    def sample_and_log_prob(self, key, cond=None):
        z = self.sample(key)
        return z, self.log_prob(z)


jax.tree_util.register_pytree_node(
    Posterior, lambda q: ((q.loc, q.scale), None), lambda _, leaves: Posterior(*leaves)
)

PARAMETERS = {"slope": jnp.array(1.3), "loc": jnp.array(-0.2), "scale": jnp.array(0.9)}


def log_joint(slope, z):
    return norm.logpdf(z) + norm.logpdf(X, slope * z, NOISE)


def weigh(parameters):
    """Particle terms for the parameters, as the estimators want them."""

    def one(key, draw):
        z, log_q = draw(Posterior(parameters["loc"], parameters["scale"]), key, None)
        return Terms(
            norm.logpdf(X, parameters["slope"] * z, NOISE), norm.logpdf(z)[None], log_q[None]
        )

    return one


def log_evidence(slope):
    return norm.logpdf(X, 0.0, jnp.sqrt(slope**2 + NOISE**2))


def expected_bound(bound, parameters, num_particles):
    """E[bound] by Gauss-Hermite quadrature over the noise of one or two particles."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    grid = jnp.stack(jnp.meshgrid(*[jnp.asarray(nodes)] * num_particles), axis=-1)
    grid = grid.reshape(-1, num_particles)
    mass = jnp.prod(
        jnp.stack(jnp.meshgrid(*[jnp.asarray(weights)] * num_particles), axis=-1), axis=-1
    ).reshape(-1)

    def value(noise):
        z = parameters["loc"] + parameters["scale"] * noise
        log_q = norm.logpdf(z, parameters["loc"], parameters["scale"])
        return bound(log_joint(parameters["slope"], z) - log_q)

    return jnp.vdot(mass, jax.vmap(value)(grid))
