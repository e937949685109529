"""Flows of infinitely many infinitesimal layers: a differential equation from a base to data."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.bijectors import runge_kutta
from genmix.capabilities import SampledDensity, sample

Event = Float[Array, "..."]
LogProb = Float[Array, ""]


class ContinuousFlow(nnx.Module):
    """dx / dt = field(x, t, cond), from the base at t = 0 to data at t = 1.

    Its density is as exact as `num_steps` steps of fourth order are. Train it by its density
    (`objectives.elbo`), as `Hutchinson(flow)` where events are large, or without solving the
    equation at all by `objectives.flow_matching`.

    Args:
        base: a density that samples, such as `StandardNormal`; a conditional one is given cond.
        field: such as `nets.TimeMLP(shape, ..., span=(0.0, 1.0))`, which starts at zero.
        num_steps: of the classical Runge-Kutta method, each with four calls of the field.

    Raises:
        TypeError: if the base has no density or no sampler.
        ValueError: if num_steps < 1.

    Source: Chen et al. (2018), arXiv:1806.07366; Grathwohl et al. (2019), arXiv:1810.01367.
    """

    def __init__(
        self, base: Any, field: Callable[[Event, Array, PyTree], Event], *, num_steps: int = 20
    ):
        if not isinstance(base, SampledDensity):
            raise TypeError(
                f"{type(base).__name__} cannot be the base of a ContinuousFlow: it needs "
                "sample and log_prob, as StandardNormal has them."
            )
        if num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {num_steps}.")
        self.base, self.field, self.num_steps = base, field, num_steps

    def log_prob(self, x: Event, cond: PyTree = None) -> LogProb:
        """Log-density in nats, by the exact divergence: one derivative for each entry of x."""
        return self._log_prob(x, cond, runge_kutta.exact)

    def log_bound(self, key: Key[Array, ""], x: Event, cond: PyTree = None) -> LogProb:
        """Unbiased estimate of `log_prob` by one derivative along random signs, in nats."""
        signs = jax.random.rademacher(key, x.shape, x.dtype)
        return self._log_prob(x, cond, runge_kutta.hutchinson(signs))

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Event:
        """Where a draw from the base gets to."""
        z = sample(self.base, key, cond)
        return runge_kutta.integrate(self._velocity(cond), z, self._times(z))[0]

    def sample_and_log_prob(
        self, key: Key[Array, ""], cond: PyTree = None
    ) -> tuple[Event, LogProb]:
        """A draw, differentiable in the field, and its log-density.

        Raises:
            TypeError: if the base is not reparameterized, and so has no gradient.
        """
        z = sample(self.base, key, cond)
        x, log_det = runge_kutta.integrate(
            self._velocity(cond), z, self._times(z), runge_kutta.exact
        )
        return x, self.base.log_prob(z, cond) - log_det

    def _times(self, x: Event) -> Float[Array, " n"]:
        return jnp.linspace(0, 1, self.num_steps + 1, dtype=x.dtype)

    def _velocity(self, cond: PyTree) -> runge_kutta.Field:
        return lambda x, t: self.field(x, t, cond)

    def _log_prob(self, x: Event, cond: PyTree, divergence: runge_kutta.Divergence) -> LogProb:
        back = self._times(x)[::-1]
        z, log_det = runge_kutta.integrate(self._velocity(cond), x, back, divergence)
        return self.base.log_prob(z, cond) + log_det
