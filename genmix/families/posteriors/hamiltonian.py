"""Hamiltonian variational inference: a posterior refined by leapfrog steps, inside the bound."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.bounds.log_weight import Draw, Terms
from genmix.capabilities import ExactDensity
from genmix.densities import normal
from genmix.families import weigh
from genmix.families.latent.latent_variable import LatentVariableModel


class HamiltonianModel(nnx.Module):
    """A latent-variable model whose posterior is moved towards p(z | x), and weighed exactly.

    From z drawn of q(z | x), each iteration draws a momentum v ~ N(0, I) and takes leapfrog steps
    in log p(x, z), which preserve volume. A reverse model r(v' | z', x) of the momentum that comes
    out keeps the weight p(x, z') r(v' | z', x) / (q(z | x) N(v)) unbiased for p(x), whatever r is.

    The gradient must flow through z and v: use the reparameterized estimator.

    Source: Salimans, Kingma & Welling (2015), arXiv:1410.6460, section 3.2.
    """

    def __init__(
        self,
        model: LatentVariableModel,
        reverse: Any,
        *,
        num_leapfrog: int = 5,
        num_iterations: int = 1,
        step_size: float = 0.1,
    ):
        """A model around another, which keeps its parts.

        Args:
            model: its prior and likelihood need exact densities, differentiable in z, one array.
            reverse: density of a momentum given the pair (z, x), such as a `Normal`.
            num_leapfrog: steps of each iteration.
            num_iterations: fresh momenta, one after the other; they share `reverse`.
            step_size: at the start; it is trained.

        Raises:
            TypeError: if prior, likelihood or reverse has no log_prob.
            ValueError: if a number is not positive.
        """
        parts = (("prior", model.prior), ("likelihood", model.likelihood), ("reverse", reverse))
        for role, part in parts:
            if not isinstance(part, ExactDensity):
                raise TypeError(
                    f"{type(part).__name__} cannot be the {role} of a HamiltonianModel: it has no "
                    "log_prob."
                )
        for name, value in (("num_leapfrog", num_leapfrog), ("num_iterations", num_iterations)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        if not step_size > 0:
            raise ValueError(f"step_size must be positive, got {step_size}.")
        self.model, self.reverse = model, reverse
        self.num_leapfrog, self.num_iterations = num_leapfrog, num_iterations
        self.raw_step_size = nnx.Param(jnp.log(jnp.expm1(step_size)))

    @property
    def step_size(self) -> Float[Array, ""]:
        return jax.nn.softplus(self.raw_step_size[...])

    def log_weight_terms(
        self, key: Key[Array, ""], x: PyTree, cond: PyTree = None, draw: Draw = weigh.draw
    ) -> Terms:
        """Terms of the log-weight, in nats: the layer of z, then one of each momentum."""
        if cond is not None:
            raise ValueError("HamiltonianModel takes no condition.")
        z, log_priors, log_posteriors = self._refined(key, x, draw)
        log_prior = self.model.prior.log_prob(z, None)
        return Terms(
            self.model.likelihood.log_prob(x, z),
            jnp.stack([log_prior, *log_priors]),
            jnp.stack(log_posteriors),
        )

    def log_weight(self, key: Key[Array, ""], x: PyTree, cond: PyTree = None) -> Float[Array, ""]:
        """Log of an unbiased estimate of p(x), in nats; its expectation is the bound."""
        return self.log_weight_terms(key, x, cond).log_weight

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> PyTree:
        return self.model.sample(key, cond)

    def encode(self, key: Key[Array, ""], x: PyTree) -> Array:
        """Draw z of the refined posterior."""
        return self._refined(key, x, weigh.draw)[0]

    def decode(self, z: PyTree, cond: PyTree = None) -> PyTree:
        return self.model.decode(z, cond)

    def _refined(
        self, key: Key[Array, ""], x: PyTree, draw: Draw
    ) -> tuple[Array, list[Array], list[Array]]:
        """z, log r of each momentum that came out, and log q of z and of each that went in."""
        start_key, key = jax.random.split(key)
        z, log_q = draw(self.model.posterior, start_key, x)
        log_reverse, log_forward = [], [log_q]
        for momentum_key in jax.random.split(key, self.num_iterations):
            momentum = jax.random.normal(momentum_key, z.shape, z.dtype)
            log_forward.append(jnp.sum(normal.log_prob(momentum, 0.0, 1.0)))
            z, momentum = self._leapfrog(z, momentum, x)
            log_reverse.append(self.reverse.log_prob(momentum, (z, x)))
        return z, log_reverse, log_forward

    def _leapfrog(self, z: Array, momentum: Array, x: PyTree) -> tuple[Array, Array]:
        step = self.step_size
        slope = jax.grad(
            lambda z: self.model.prior.log_prob(z, None) + self.model.likelihood.log_prob(x, z)
        )

        def one(carry, _):
            z, momentum = carry
            momentum = momentum + 0.5 * step * slope(z)
            z = z + step * momentum
            return (z, momentum + 0.5 * step * slope(z)), None

        return jax.lax.scan(one, (z, momentum), length=self.num_leapfrog)[0]
