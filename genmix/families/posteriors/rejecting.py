"""Variational rejection sampling: draws that are accepted the likelier, the likelier they are."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.bounds.log_weight import with_gradient_of
from genmix.capabilities import (
    Gradient,
    LogJoint,
    Proposal,
    Proposes,
    SampledDensity,
    differentiates,
    draw,
    held,
)
from genmix.families.roles import require_posterior
from genmix.nets import state

_AT_ONCE = 8  # proposals of one turn: most are needed when few are accepted


class _Draw(NamedTuple):
    z: PyTree
    log_q: Array
    log_accept: Array


class Rejecting(nnx.Module):
    """z ~ q accepted with probability a(z) = sigmoid(log p(x, z) - log q(z | x) + threshold).

    log q = log q(z | x) + log a(z) - log Z, with an independent estimate of Z = E_q[a] by the mean
    of num_estimates: properly weighted. With a high threshold everything is accepted and the model
    is q's; as it falls the ELBO rises, draws come nearer to p(z | x), and take longer.

    Gradients are the paper's covariance of two accepted draws, so q need not be reparameterized,
    but have a log_prob: of the ELBO alone, by the reparameterized estimator.

    Args:
        proposal: q.
        threshold: in nats, or a function of x (the posterior's condition); near the posterior's
            mean log q(z | x) - log p(x, z) half of the draws are accepted.
        num_estimates: draws for Z.
        max_tries: after so many, log q is NaN.

    Raises:
        TypeError: if the proposal does not draw with a log q.
        ValueError: if num_estimates < 2 or max_tries < 1.

    Source: Grover et al. (2018), arXiv:1804.01712, sections 3 and 4.
    """

    def __init__(
        self,
        proposal: Proposal,
        threshold: float | Callable[[PyTree], Float[Array, ""]],
        *,
        num_estimates: int = 16,
        max_tries: int = 100_000,
    ):
        require_posterior(proposal)
        if num_estimates < 2:
            raise ValueError(f"num_estimates must be at least 2, got {num_estimates}.")
        if max_tries < 1:
            raise ValueError(f"max_tries must be at least 1, got {max_tries}.")
        self.proposal: Any = proposal
        self.threshold = threshold
        self.num_estimates, self.max_tries = num_estimates, max_tries

    @property
    def differentiates(self) -> bool:
        return differentiates(self.proposal)

    @property
    def gradient(self) -> Gradient:
        """Of the mean of log-weights, if q has a log_prob."""
        return Gradient.MEAN if self._has_scores else Gradient.NOTHING

    @property
    def _has_scores(self) -> bool:
        return isinstance(self.proposal, SampledDensity) and not isinstance(self.proposal, Proposes)

    def propose(
        self, key: Key[Array, ""], log_joint: LogJoint, cond: PyTree = None
    ) -> tuple[PyTree, Float[Array, ""]]:
        first_key, second_key, estimate_key = jax.random.split(key, 3)
        accepted = self._accepted(first_key, log_joint, cond)
        keys = jax.random.split(estimate_key, self.num_estimates)
        drawn = jax.vmap(lambda key: self._constant_draw(key, log_joint, cond))(keys)
        if not self._has_scores:
            log_accepted = _log_mean(drawn.log_accept)
            return accepted.z, accepted.log_q + accepted.log_accept - log_accepted
        density = lambda one: self._densities(one.z, log_joint, cond)
        other = self._accepted(second_key, log_joint, cond)
        log_p, log_r = density(accepted)
        other_log_p, other_log_r = density(other)
        # d/dparameters of E_r[h], beside that of h itself: Cov_r(h, d log r), r up to its Z.
        gap = jax.lax.stop_gradient((log_p - log_r) - (other_log_p - other_log_r))
        covariance = 0.5 * gap * (log_r - other_log_r)
        log_normalizer = self._log_normalizer(drawn, log_joint, cond)
        value = log_r - log_normalizer
        # A draw that was never accepted has no log q.
        value = jnp.where(jnp.isnan(accepted.log_q), jnp.nan, value)
        return accepted.z, with_gradient_of(value, -covariance)

    def _log_accept(self, log_p: Array, log_q: Array, cond: PyTree) -> Float[Array, ""]:
        threshold = self.threshold(cond) if callable(self.threshold) else self.threshold
        return jax.nn.log_sigmoid(log_p - log_q + jax.lax.stop_gradient(threshold))

    def _constant_draw(self, key: Key[Array, ""], log_joint: LogJoint, cond: PyTree) -> _Draw:
        z, log_q = draw(held(state.fresh(self.proposal)), key, cond, log_joint=log_joint)
        each = _Draw(z, log_q, self._log_accept(log_joint(z), log_q, cond))
        return jax.lax.stop_gradient(each)

    def _densities(self, z: PyTree, log_joint: LogJoint, cond: PyTree) -> tuple[Array, Array]:
        """log p(x, z) and log q(z | x) + log a(z), with their gradients at a constant z."""
        log_p, log_q = log_joint(z), state.fresh(self.proposal).log_prob(z, cond)
        return log_p, log_q + self._log_accept(log_p, log_q, cond)

    def _log_normalizer(self, drawn: _Draw, log_joint: LogJoint, cond: PyTree) -> Float[Array, ""]:
        """log Z, with a gradient that is unbiased for that of its mean over the draws too."""

        def one(z: PyTree) -> tuple[Array, Array]:
            log_p, log_q = log_joint(z), state.fresh(self.proposal).log_prob(z, cond)
            return log_q, self._log_accept(log_p, log_q, cond)

        log_q, log_accept = jax.vmap(one)(drawn.z)
        value = _log_mean(log_accept)
        num = len(log_accept)
        others = jnp.where(jnp.eye(num, dtype=bool), -jnp.inf, log_accept[None, :])
        without = jax.nn.logsumexp(others, axis=1) - jnp.log(num - 1)
        signals = jax.lax.stop_gradient(value - without)
        return with_gradient_of(value, jnp.vdot(signals, log_q))

    def _accepted(self, key: Key[Array, ""], log_joint: LogJoint, cond: PyTree) -> _Draw:
        """The first draw that is accepted, a constant; its log q is NaN if none is."""
        shape = jax.eval_shape(lambda key: self._constant_draw(key, log_joint, cond), key)
        # What the loop sees is constant, so that it need not be differentiated backwards.
        example = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shape.z)
        joint, constants = jax.closure_convert(log_joint, example)
        constants = jax.lax.stop_gradient(constants)
        fixed = lambda z: joint(z, *constants)
        cond = jax.lax.stop_gradient(cond)

        def turn(carry: tuple[Array, Array, _Draw]) -> tuple[Array, Array, _Draw]:
            number, _, _ = carry
            draw_key, accept_key = jax.random.split(jax.random.fold_in(key, number))
            keys = jax.random.split(draw_key, _AT_ONCE)
            drawn = jax.vmap(lambda key: self._constant_draw(key, fixed, cond))(keys)
            uniform = jax.random.uniform(accept_key, (_AT_ONCE,), drawn.log_accept.dtype)
            is_accepted = jnp.log(uniform) < drawn.log_accept
            first = jnp.argmax(is_accepted)
            chosen = jax.tree.map(lambda a: a[first], drawn)
            return number + 1, jnp.any(is_accepted), chosen

        def is_searching(carry: tuple[Array, Array, _Draw]) -> Array:
            number, is_found, _ = carry
            return ~is_found & (number * _AT_ONCE < self.max_tries)

        nothing = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shape)
        start = jnp.asarray(0), jnp.asarray(False), nothing
        _, is_found, found = jax.lax.while_loop(is_searching, turn, start)
        return found._replace(log_q=jnp.where(is_found, found.log_q, jnp.nan))


def _log_mean(log_values: Float[Array, " n"]) -> Float[Array, ""]:
    return jax.nn.logsumexp(log_values) - jnp.log(len(log_values))
