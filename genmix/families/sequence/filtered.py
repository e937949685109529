"""A model of steps behind a particle filter: a better log-weight, and a proposal of paths."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.bounds.log_weight import Draw, Terms
from genmix.capabilities import (
    LogJoint,
    require_sequential,
)
from genmix.families import weigh
from genmix.families.sequence import criteria, padded, particle_filter
from genmix.families.sequence.criteria import Criterion
from genmix.families.sequence.particle_filter import Paths, Scheme, Twist
from genmix.mcmc import resampling
from genmix.mcmc.resampling import Resample


class Filtered(nnx.Module):
    """p(x_1..x_T), estimated by a particle filter without bias.

    The ELBO of this model is what FIVO, VSMC and AESMC maximise; with `criteria.never` it is the
    importance-weighted bound of the unrolled model, number for number of the same key.

    As a posterior of paths z [steps, ...] it is properly weighted for any joint density of them: a
    path is chosen by its weight, and its log q is log p(x, z) - log Z of this model.

    Args:
        model: a model of steps; x is as in `Unrolled`.
        num_particles: n; with 1 this is the unrolled model.
        resample: a scheme of `genmix.mcmc.resampling`.
        criterion: when to resample, as `criteria` has them.
        twist: (z, inputs of its step) -> log of any positive function of z, such as an estimate of
            p(x_t+1..x_T | z): it steers resampling, and cancels from the evidence.
        ancestor_scores: add the score-function gradient of the ancestors to the gradient of log Z.

    Raises:
        TypeError: if the model is not sequential.
        ValueError: if num_particles < 1, or ancestors whose scores are asked for are not
            independent.

    Source: Maddison et al. (2017), arXiv:1705.09279; Naesseth et al. (2018), arXiv:1705.11140; Le
    et al. (2018), arXiv:1705.10306; Lawson et al. (2022), arXiv:2206.05952.
    """

    def __init__(
        self,
        model: Any,
        num_particles: int,
        *,
        resample: Resample = resampling.multinomial,
        criterion: Criterion = criteria.low_ess,
        twist: Twist | None = None,
        ancestor_scores: bool = False,
    ):
        require_sequential(model)
        if num_particles < 1:
            raise ValueError(f"num_particles must be at least 1, got {num_particles}.")
        if ancestor_scores and resample is not resampling.multinomial:
            raise ValueError(
                "ancestor_scores takes the ancestors as independent, which only "
                "resampling.multinomial draws: use it, or leave the scores out."
            )
        self.model, self.num_particles = model, num_particles
        self.resample, self.criterion = resample, criterion
        self.twist, self.ancestor_scores = twist, ancestor_scores

    def paths(
        self, key: Key[Array, ""], x: PyTree, cond: PyTree = None, draw: Draw = weigh.draw
    ) -> Paths:
        """All particles of one sequence, with their weights and ancestors."""
        x = padded.one(x)
        start, inputs = self.model.start(x, cond)
        keys = particle_filter.keys(jax.random.split(key, self.num_particles))
        scheme = Scheme(self.resample, self.criterion, self.twist)
        return particle_filter.run(
            self.model, start, inputs, x.mask(), keys, draw, scheme,
            num_particles=self.num_particles, ancestor_scores=self.ancestor_scores,
        )  # fmt: skip

    def log_weight_terms(
        self, key: Key[Array, ""], x: PyTree, cond: PyTree = None, draw: Draw = weigh.draw
    ) -> Terms:
        """log Z as one term: the hidden steps are integrated out."""
        value = self.paths(key, x, cond, draw).log_evidence
        return Terms(value, jnp.zeros(0, value.dtype), jnp.zeros(0, value.dtype))

    def log_weight(self, key: Key[Array, ""], x: PyTree, cond: PyTree = None) -> Float[Array, ""]:
        """Log of an unbiased estimate of p(x | cond), in nats: log Z."""
        return self.paths(key, x, cond).log_evidence

    def propose(
        self, key: Key[Array, ""], log_joint: LogJoint, cond: PyTree = None
    ) -> tuple[PyTree, Float[Array, ""]]:
        """A path z [steps, ...] with its effective log q, in nats, given x as the condition.

        What lies behind the end of x is zero. It does not look at log_joint.
        """
        del log_joint
        x = padded.one(cond)
        paths_key, choice_key = jax.random.split(key)
        paths = self.paths(paths_key, x)
        index = jax.random.categorical(choice_key, jax.lax.stop_gradient(paths.log_weight))
        z = particle_filter.traced(paths, index)
        z = jax.tree.map(lambda a: padded.where(x.mask(), a, 0), z)
        return z, paths.log_joint[index] - paths.log_evidence
