"""Standard deviations of p(z_s | z_t) in a chain of few steps; in continuous time all are one.

Each is a function (z_t, gamma_s, gamma_t, cond) -> standard deviation, of z's shape or none.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PyTree

from genmix.families.diffusion import gaussian_kernel as kernel
from genmix.families.diffusion.gaussian_kernel import Event, Level

Variance = Callable[[Event, Level, Level, PyTree], Float[Array, "..."]]


def beta(z: Event, gamma_s: Level, gamma_t: Level, cond: PyTree = None) -> Level:
    """That of q(z_t | z_s): right for data of N(0, I)."""
    del z, cond
    return jnp.sqrt(kernel.forward_variance(gamma_s, gamma_t))


def beta_tilde(z: Event, gamma_s: Level, gamma_t: Level, cond: PyTree = None) -> Level:
    """That of q(z_s | z_t, x): right for data that is a single point.

    Source: Ho, Jain & Abbeel (2020), arXiv:2006.11239, section 3.2, for both.
    """
    del z, cond
    return jnp.sqrt(kernel.backward_variance(gamma_s, gamma_t))


class Learned(nnx.Module):
    """Between `beta_tilde` and `beta` in logs, where a network says, entry by entry.

    Args:
        network: (z, gamma, cond) -> array of z's shape; its sigmoid is the share of `beta`.

    Source: Nichol & Dhariwal (2021), arXiv:2102.09672, equation 15.
    """

    def __init__(self, network: Callable[[Event, Level, PyTree], Array]):
        self.network = network

    def __call__(self, z: Event, gamma_s: Level, gamma_t: Level, cond: PyTree = None) -> Event:
        share = jax.nn.sigmoid(self.network(z, gamma_t, cond))
        if share.shape != z.shape:
            raise ValueError(
                f"The network of learned variances must give an output of its event's shape "
                f"{z.shape}, got {share.shape}."
            )
        high, low = jnp.log(beta(z, gamma_s, gamma_t)), jnp.log(beta_tilde(z, gamma_s, gamma_t))
        return jnp.exp(low + share * (high - low))
