"""Sampling-importance-resampling: one of k draws, chosen by its weight."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.capabilities import Gradient, LogJoint, Proposal, differentiates, draw, gradient_of
from genmix.families.roles import require_posterior
from genmix.nets import state


class Resampled(nnx.Module):
    """One of k draws of q with probability proportional to its weight w_i = p(x, z_i) / q(z_i | x).

    log q = log p(x, z) - log mean w: the weight is the mean of the k, whichever was chosen. So the
    ELBO of the model is the importance-weighted bound of q, and z is nearer to p(z | x) than q is.

    Args:
        proposal: q.
        num_draws: k.

    Raises:
        TypeError: if the proposal does not draw with a log q.
        ValueError: if num_draws < 1.

    Source: Cremer, Morris & Duvenaud (2017), arXiv:1704.02916; Naesseth, Lindsten & Schön (2015),
    arXiv:1502.02536, section 3.
    """

    def __init__(self, proposal: Proposal, num_draws: int):
        require_posterior(proposal)
        if num_draws < 1:
            raise ValueError(f"num_draws must be at least 1, got {num_draws}.")
        self.proposal, self.num_draws = proposal, num_draws

    @property
    def differentiates(self) -> bool:
        return differentiates(self.proposal)

    @property
    def gradient(self) -> Gradient:
        """Of weights, which do not tell what was chosen, if those of the proposal have one."""
        smooth = gradient_of(self.proposal) >= Gradient.WEIGHTS
        return Gradient.WEIGHTS if smooth else Gradient.NOTHING

    def propose(
        self, key: Key[Array, ""], log_joint: LogJoint, cond: PyTree = None
    ) -> tuple[PyTree, Float[Array, ""]]:
        def one(key: Key[Array, ""]) -> tuple[PyTree, Array, Array]:
            z, log_q = draw(state.fresh(self.proposal), key, cond, log_joint=log_joint)
            log_p = log_joint(z)
            return z, log_p, log_p - log_q

        draw_key, choice_key = jax.random.split(key)
        zs, log_ps, log_weights = jax.vmap(one)(jax.random.split(draw_key, self.num_draws))
        chosen = jax.random.categorical(choice_key, jax.lax.stop_gradient(log_weights))
        z, log_p = jax.tree.map(lambda a: a[chosen], (zs, log_ps))
        # If no draw is possible under p(x, z), the one chosen weighs nothing, with no gradient.
        is_possible = log_p != -jnp.inf
        log_weights = jnp.where(is_possible, log_weights, 0.0)
        log_mean = jax.nn.logsumexp(log_weights) - math.log(self.num_draws)
        return z, jnp.where(is_possible, log_p - log_mean, 0.0)
