"""The variational Rényi bound, with the ELBO and the importance-weighted bound as members."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from genmix.bounds import elbo


def check_order(alpha: float | int) -> None:
    """Check that alpha is a finite number.

    Raises:
        ValueError: if it is not.
    """
    if not math.isfinite(alpha):
        raise ValueError(f"alpha must be finite, got {alpha}; alpha = -inf is vr_max.")


def bound(log_weights: Float[Array, " k"], alpha: float | int) -> Float[Array, ""]:
    """Estimate of L_alpha = log E_q[(p(x, z) / q(z | x))^(1 - alpha)] / (1 - alpha), in nats.

    alpha = 1 is the ELBO, alpha = 0 the importance-weighted bound. L_alpha falls with alpha and is
    a lower bound on log p(x) for alpha >= 0; below 0 it is an upper one, but this estimate, biased
    downwards for k particles, need not be. alpha = -inf is `vr_max`.

    Raises:
        ValueError: if alpha is not finite.

    Source: Li & Turner (2016), arXiv:1602.02311, equation 13.
    """
    check_order(alpha)
    if alpha == 1:
        return elbo.bound(log_weights)
    mean_power = jax.nn.logsumexp((1 - alpha) * log_weights) - jnp.log(log_weights.shape[0])
    return mean_power / (1 - alpha)
