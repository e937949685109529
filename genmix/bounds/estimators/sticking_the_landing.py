"""Path gradients only: the posterior's own density is held fixed."""

from typing import Any

import jax
from jaxtyping import Array, Float, Key, PyTree

from genmix.bounds.bound import Bound
from genmix.bounds.estimator import Estimator
from genmix.bounds.estimators import reparameterized
from genmix.bounds.log_weight import Estimate, Weigh, particles
from genmix.capabilities import one_number, require_log_prob


def draw(posterior: Any, key: Key[Array, ""], cond: PyTree) -> tuple[PyTree, Float[Array, ""]]:
    """Reparameterized z and log q(z | cond) with the posterior's parameters held constant.

    The gradient that is left out has expectation zero. It vanishes, for every single sample, where
    the posterior is exact.

    Raises:
        TypeError: if the posterior has no `sample_and_log_prob` or no `log_prob`.
    """
    require_log_prob(posterior)
    # Copied before the draw, which may advance dropout's counters: both must see the same network.
    fixed = jax.tree.map(jax.lax.stop_gradient, posterior)
    z, _ = reparameterized.draw(posterior, key, cond)
    return z, one_number(fixed.log_prob(z, cond), posterior, "log_prob")


def estimate(
    key: Key[Array, ""],
    weigh: Weigh,
    bound: Bound,
    *,
    num_particles: int,
) -> Estimate:
    """Bound of k particles with path gradients only.

    Unbiased for the ELBO. Biased for other bounds when k > 1: use `doubly_reparameterized`.

    Source: Roeder, Wu & Duvenaud (2017), arXiv:1703.09194.
    """
    terms = particles(key, weigh, draw, num_particles)
    return Estimate(bound(terms.log_weight), terms)


estimator = Estimator("sticking_the_landing", estimate, needs_linear=True, reaches_terms=True)
