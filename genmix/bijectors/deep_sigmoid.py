"""Deep sigmoidal flow: mixtures of logistic distribution functions, elementwise."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from genmix.densities.logistic import softplus

Event = Float[Array, "*event"]
Units = Float[Array, "*event units"]
Parameters = Float[Array, "*event parameters"]

MIN_STEEPNESS = 1e-3


def forward_and_log_slope(
    x: Event, log_weights: Units, log_steepness: Units, offsets: Units
) -> tuple[Event, Event]:
    """y = logit(sum_j w_j sigmoid(a_j x + b_j)); log dy / dx in nats.

    The weights must sum to one. All in logs: nothing rounds to 0 or 1 in the tails, where y goes on
    as a straight line. It has no inverse in closed form.

    Source: Huang et al. (2018), arXiv:1804.00779, equation 8.
    """
    c = jnp.exp(log_steepness) * x[..., None] + offsets
    above, below = -softplus(-c), -softplus(c)
    log_p = jax.nn.logsumexp(log_weights + above, axis=-1)
    log_not_p = jax.nn.logsumexp(log_weights + below, axis=-1)
    log_density = jax.nn.logsumexp(log_weights + log_steepness + above + below, axis=-1)
    return log_p - log_not_p, log_density - log_p - log_not_p


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepSigmoid:
    """Transformer with parameters (raw steepness, offset, logit of the weight) for each unit.

    The steepness is 1e-3 + softplus(raw + constant); at parameters of zero it is the identity. It
    has no closed inverse, so a flow made of it has one direction.

    Source: Huang et al. (2018), arXiv:1804.00779, section 3.1.
    """

    num_units: int = 8

    def __post_init__(self):
        if self.num_units < 1:
            raise ValueError(f"num_units must be at least 1, got {self.num_units}.")

    @property
    def num_parameters(self) -> int:
        return 3 * self.num_units

    def forward_and_log_slope(self, x: Event, parameters: Parameters) -> tuple[Event, Event]:
        raw, offsets, logits = jnp.split(parameters, 3, axis=-1)
        steepness = MIN_STEEPNESS + softplus(raw + math.log(math.expm1(1 - MIN_STEEPNESS)))
        return forward_and_log_slope(x, jax.nn.log_softmax(logits), jnp.log(steepness), offsets)
