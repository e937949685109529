"""Stochastic variational inference on one x, from where an encoder starts it or from anywhere."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.capabilities import Gradient, LogJoint, Reparameterized, draw
from genmix.families import shapes
from genmix.nets import state


@runtime_checkable
class OfNetwork(Reparameterized, Protocol):
    """A reparameterized part whose numbers are a network's output."""

    network: Callable[[PyTree], Array]


class Optimized(nnx.Module):
    """z ~ q(z; lambda) after gradient steps in lambda, from the encoder's, on this x.

    lambda <- lambda + step of E log p(x, z) - log q(z; lambda), each with fresh draws of z, whose
    noise is independent of the draw that is weighed: log q is that of the moved q. With an encoder
    that is trained it is semi-amortized; with a constant one, SVI. A part that is no network's
    output, such as a flow, cannot be moved, but wrap this: `Hamiltonian(Optimized(q), r)`.

    Args:
        posterior: q, with a `network` from x to lambda, such as a normal.
        num_steps: 0 is the posterior itself.
        optimizer: of the steps, minimising the negative ELBO. Of Adam take one with `eps_root`,
            such as 1e-8: where a slope is exactly 0, its square root has no derivative, and what
            passes through the steps would be NaN.
        num_draws: of z in each step.
        through: whether gradients of the bound pass through the steps (semi-amortized), by replay
            of the same noise. Else those at the moved lambda count for the encoder's as they are:
            cheaper, and biased for the encoder and, where the steps have not converged, the model.

    Raises:
        TypeError: if the posterior has no network, or no sample_and_log_prob.
        ValueError: if num_steps < 0 or num_draws < 1.

    Source: Hoffman et al. (2013), arXiv:1206.7051; Kim et al. (2018), arXiv:1802.02550, section 3.
    """

    differentiates = True
    gradient = Gradient.DRAWS

    def __init__(
        self,
        posterior: Any,
        num_steps: int,
        *,
        optimizer: optax.GradientTransformation,
        num_draws: int = 1,
        through: bool = True,
    ):
        if not isinstance(posterior, OfNetwork):
            raise TypeError(
                f"{type(posterior).__name__} cannot be optimized: the steps move what a part's "
                "network gives, so it needs a network, and sample_and_log_prob. Flows and "
                "proposals may wrap Optimized."
            )
        if num_steps < 0:
            raise ValueError(f"num_steps must not be negative, got {num_steps}.")
        if num_draws < 1:
            raise ValueError(f"num_draws must be at least 1, got {num_draws}.")
        self.posterior: Any = posterior
        self.num_steps, self.num_draws, self.through = num_steps, num_draws, through
        self.optimizer = optimizer

    @property
    def event_shape(self) -> tuple[int, ...] | None:
        return shapes.event_shape(self.posterior)

    @property
    def cond_shape(self) -> tuple[int, ...] | None:
        return shapes.cond_shape(self.posterior)

    def propose(
        self, key: Key[Array, ""], log_joint: LogJoint, cond: PyTree = None
    ) -> tuple[PyTree, Float[Array, ""]]:
        steps_key, draw_key = jax.random.split(key)
        return draw(self.moved(steps_key, log_joint, cond), draw_key, cond)

    def moved(self, key: Key[Array, ""], log_joint: LogJoint, cond: PyTree = None) -> Any:
        """q after the steps: a part whose numbers are constants."""

        def loss(numbers: Array, key: Key[Array, ""]) -> Float[Array, ""]:
            def one(key: Key[Array, ""]) -> Array:
                z, log_q = self._with(numbers).sample_and_log_prob(key, cond)
                return log_q - log_joint(z)

            return jnp.mean(jax.vmap(one)(jax.random.split(key, self.num_draws)))

        @jax.checkpoint  # the backward pass keeps the numbers of each step, not its networks
        def step(carry: tuple[PyTree, PyTree], number: Array) -> tuple[tuple[PyTree, PyTree], None]:
            numbers, memory = carry
            slope = jax.grad(loss)(numbers, jax.random.fold_in(key, number))
            update, memory = self.optimizer.update(slope, memory, numbers)
            return (optax.apply_updates(numbers, update), memory), None

        first = self.posterior.network(cond)
        start = first if self.through else jax.lax.stop_gradient(first)
        begin = start, self.optimizer.init(start)
        (last, _), _ = jax.lax.scan(step, begin, jnp.arange(self.num_steps))
        if not self.through:
            last = first + jax.lax.stop_gradient(last - first)
        return self._with(last)

    def _with(self, numbers: Array) -> Any:
        copy = state.fresh(self.posterior)
        copy.network = nnx.data(_Constant(numbers))  # in place of a function too, which is static
        return copy


class _Constant(nnx.Module):
    def __init__(self, numbers: Array):
        self.numbers = nnx.Variable(numbers)

    def __call__(self, cond: PyTree) -> Array:
        del cond
        return self.numbers[...]
