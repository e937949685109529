"""Hamiltonian variational inference: draws moved towards p(z | x) by leapfrog steps."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.capabilities import (
    Density,
    ExactDensity,
    Gradient,
    LogJoint,
    Proposal,
    draw,
    gradient_of,
)
from genmix.densities import normal
from genmix.families.roles import require_posterior


class Hamiltonian(nnx.Module):
    """z' of leapfrog steps from z ~ q with a momentum v ~ N(0, I), weighed exactly.

    log q = log q(z | x) + log N(v) - log r(v' | z', x), since leapfrog steps preserve volume. That
    is properly weighted whatever the reverse model r is; the nearer r is to where momenta come
    from, the tighter is the bound.

    Args:
        proposal: q, a posterior of one real array.
        reverse: r, density of a momentum given the pair (z, x), such as a normal.
        num_leapfrog: steps of each iteration.
        num_iterations: fresh momenta, one after the other; they share `reverse`.
        step_size: at the start; it is trained.

    Raises:
        TypeError: if the proposal does not draw, or reverse has no log_prob.
        ValueError: if a number is not positive.

    Source: Salimans, Kingma & Welling (2015), arXiv:1410.6460, section 3.2.
    """

    differentiates = True

    def __init__(
        self,
        proposal: Proposal,
        reverse: Density,
        *,
        num_leapfrog: int = 5,
        num_iterations: int = 1,
        step_size: float = 0.1,
    ):
        require_posterior(proposal)
        if not isinstance(reverse, ExactDensity):
            raise TypeError(
                f"{type(reverse).__name__} cannot be the reverse of Hamiltonian: it has no "
                "log_prob."
            )
        for name, value in (("num_leapfrog", num_leapfrog), ("num_iterations", num_iterations)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        if not step_size > 0:
            raise ValueError(f"step_size must be positive, got {step_size}.")
        self.proposal, self.reverse = proposal, reverse
        self.num_leapfrog, self.num_iterations = num_leapfrog, num_iterations
        self.raw_step_size = nnx.Param(jnp.log(jnp.expm1(step_size)))

    @property
    def step_size(self) -> Float[Array, ""]:
        return jax.nn.softplus(self.raw_step_size[...])

    @property
    def gradient(self) -> Gradient:
        """Of everything, if the start is reparameterized."""
        reparameterized = gradient_of(self.proposal) == Gradient.DRAWS
        return Gradient.DRAWS if reparameterized else Gradient.NOTHING

    def propose(
        self, key: Key[Array, ""], log_joint: LogJoint, cond: PyTree = None
    ) -> tuple[Array, Float[Array, ""]]:
        start_key, key = jax.random.split(key)
        z, log_q = draw(self.proposal, start_key, cond, log_joint=log_joint)
        for momentum_key in jax.random.split(key, self.num_iterations):
            momentum = jax.random.normal(momentum_key, z.shape, z.dtype)
            log_q += jnp.sum(normal.log_prob(momentum, 0.0, 1.0))
            z, momentum = self.leapfrog(z, momentum, log_joint)
            log_q -= self.reverse.log_prob(momentum, (z, cond))
        return z, log_q

    def leapfrog(self, z: Array, momentum: Array, log_joint: LogJoint) -> tuple[Array, Array]:
        """Position and momentum after num_leapfrog steps."""
        step, slope = self.step_size, jax.grad(log_joint)

        def one(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
            z, momentum = carry
            momentum = momentum + 0.5 * step * slope(z)
            z = z + step * momentum
            return (z, momentum + 0.5 * step * slope(z)), None

        return jax.lax.scan(one, (z, momentum), length=self.num_leapfrog)[0]
