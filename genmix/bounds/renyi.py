"""The variational Rényi bound, with the ELBO and the importance-weighted bound as members."""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from genmix.bounds import elbo
from genmix.bounds.bound import Bound


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
    power = 1 - alpha
    mean_power = jax.nn.logsumexp(power * log_weights) - jnp.log(log_weights.shape[0])
    far = mean_power / power
    # Near alpha = 1 that is the small difference of two numbers near log k, over a small number.
    mean = jax.lax.stop_gradient(elbo.bound(log_weights))
    scaled = power * (log_weights - mean)
    is_near = jnp.max(jnp.abs(scaled)) < 0.5  # False where the mean is -inf or NaN
    excess = jnp.mean(jnp.expm1(jnp.where(is_near, scaled, 0.0)))
    return jnp.where(is_near, mean + jnp.log1p(excess) / power, far)


def of_order(alpha: float | int) -> Bound:
    """The bound of one order, as a record.

    Raises:
        ValueError: if alpha is not finite.
    """
    check_order(alpha)
    # a is the softmax of (1 - alpha) log w, so d a_i / dlog w_i = (1 - alpha) (a_i - a_i^2).
    factors = lambda a: alpha + (1 - alpha) * a
    return Bound(
        functools.partial(bound, alpha=alpha),
        name="renyi",
        is_linear=alpha == 1,
        path_factors=factors if alpha != 1 else jnp.ones_like,
    )
