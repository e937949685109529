"""Annealed importance sampling as a posterior."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.capabilities import Density, Gradient, LogJoint, SampledDensity
from genmix.families.given import Given
from genmix.mcmc import annealed_importance, bridge, kernel


class Annealed(nnx.Module):
    """The end of a path of kernels from z ~ q(z | x) to p(z | x).

    log q = log p(x, z) - the path's log-weight. Kernels accept or refuse, by odds that no gradient
    tells of: a model is evaluated with it, and trained with q.

    Args:
        proposal: q, which draws, and knows its density everywhere.
        make_kernel: (log-density of a bridge, beta) -> kernel that leaves it invariant, such as
            `lambda f, beta: hmc.build(f, 0.1, 10)`.
        inverse_temperatures: rising from 0 to 1, such as `bridge.sigmoidal(100)`.
        num_steps: of the kernel at each temperature.

    Raises:
        TypeError: if the proposal has no log_prob or no sample.
        ValueError: if the temperatures do not rise from 0 to 1, or num_steps < 1.

    Source: Neal (2001), arXiv:physics/9803008, section 2; Wu et al. (2017), arXiv:1611.04273.
    """

    gradient = Gradient.NOTHING

    def __init__(
        self,
        proposal: Density,
        make_kernel: bridge.MakeKernel,
        inverse_temperatures: bridge.Schedule,
        *,
        num_steps: int = 1,
    ):
        if not isinstance(proposal, SampledDensity):
            raise TypeError(
                f"{type(proposal).__name__} cannot be annealed from: a path needs draws, and their "
                "density wherever it goes (sample and log_prob). Wrap Annealed in it."
            )
        kernel.require_steps(num_steps)
        betas = bridge.check_schedule(inverse_temperatures)
        self.proposal, self.make_kernel, self.num_steps = proposal, make_kernel, num_steps
        self.inverse_temperatures: Sequence[float] = tuple(map(float, betas))

    def propose(
        self, key: Key[Array, ""], log_joint: LogJoint, cond: PyTree = None
    ) -> tuple[PyTree, Float[Array, ""]]:
        path = bridge.Geometric(Given(self.proposal, cond), log_joint, self.make_kernel)
        z, log_weight = annealed_importance.run(
            key, path, self.inverse_temperatures, num_steps=self.num_steps
        )
        log_p = log_joint(z)
        return z, jnp.where(log_p == -jnp.inf, 0.0, log_p - log_weight)
