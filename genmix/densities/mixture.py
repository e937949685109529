"""Finite mixtures of any densities: what the components say of one event, and their logits.

`log_probs[j]` is the log-density of component j at the event, with parameters stacked along a
leading axis: `mixture.log_prob(jax.vmap(normal.log_prob, (None, 0, 0))(x, loc, scale), logits)`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key

from genmix.densities.multivariate_normal import Vector, check_shape


def log_prob(log_probs: Vector, logits: Vector) -> Float[Array, ""]:
    """Log-density of the mixture with weights softmax(logits), in nats.

    -inf with zero gradient where every component says -inf, inf with zero gradient where one says
    inf. A logit of -inf switches its component off, as long as that says less than inf. NaN if
    any argument is NaN or all logits are -inf.

    Raises:
        ValueError: if there is not one log-density per logit.
    """
    joint, peak = _joint_and_peak(log_probs, logits)
    return jnp.where(jnp.isinf(peak), peak, jax.nn.logsumexp(joint))


def responsibilities(log_probs: Vector, logits: Vector) -> Float[Array, " _"]:
    """Posterior probability of each component given the event: the gradient of `log_prob`.

    All zero where the log-density of the mixture is infinite, NaN where it is NaN.

    Raises:
        ValueError: if there is not one log-density per logit.

    Source: Bishop (2006), Pattern Recognition and Machine Learning, equation 9.13.
    """
    joint, peak = _joint_and_peak(log_probs, logits)
    return jnp.where(jnp.isinf(peak), 0.0, jax.nn.softmax(joint))


def sample(
    key: Key[Array, ""],
    logits: Vector,
    sample_fn: Callable[[Key[Array, ""], Int[Array, ""]], Array],
) -> Array:
    """Draw a component, then the event from that component alone.

    As differentiable in the parameters of the components as `sample_fn` is; the choice has no
    gradient in the logits.

    Args:
        sample_fn: (key, index) -> one draw of component index, such as
            `lambda key, j: normal.sample(key, loc[j], scale[j])`; for components of several
            kinds, `lambda key, j: jax.lax.switch(j, samplers, key)` (in `jax.lax.map`: `jax.vmap`
            makes a switch run every branch).
    """
    index_key, component_key = jax.random.split(key)
    return sample_fn(component_key, jax.random.categorical(index_key, logits))


def _joint_and_peak(log_probs: Array, logits: Array) -> tuple[Array, Array]:
    """Log w_j + log p_j(x), and its maximum without gradient; all 0 where that is infinite.

    logsumexp of nothing but -inf, or of an inf, has the right value but a NaN gradient.
    """
    check_shape("log_probs", log_probs, logits.shape)
    joint = jax.nn.log_softmax(logits) + log_probs
    # In large batches XLA's maximum of NaN and -inf may be -inf on a CPU (jaxlib 0.10.1).
    peak = jnp.where(jnp.any(jnp.isnan(joint)), jnp.nan, lax.stop_gradient(jnp.max(joint)))
    return jnp.where(jnp.isinf(peak), 0.0, joint), peak
