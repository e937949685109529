"""Noise schedules: the level gamma(t) = -log(signal-to-noise ratio), which rises from t = 0 to 1.

The bound of a diffusion in continuous time depends on a schedule by its two ends alone; what is
between them decides how much an estimate of it varies, and where a sampler's steps go.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from genmix.densities.logistic import softplus

Scalar = Float[Array, ""]


def _require_rising(name: str, low: float, high: float) -> None:
    if not -math.inf < low < high < math.inf:
        raise ValueError(
            f"{name} needs finite gamma_min < gamma_max, for the signal-to-noise ratio exp(-gamma) "
            f"must fall; got {low} and {high}."
        )


class Linear(nnx.Module):
    """gamma(t) a straight line."""

    def __init__(self, gamma_min: float = -13.3, gamma_max: float = 5.0):
        _require_rising("Linear", gamma_min, gamma_max)
        self.gamma_min, self.gamma_max = gamma_min, gamma_max

    def __call__(self, t: Scalar) -> Scalar:
        return self.gamma_min + (self.gamma_max - self.gamma_min) * t


class LinearBeta(nnx.Module):
    """Noise that comes at a rate that rises from beta_min to beta_max, as that of DDPM does.

    alpha^2 = exp(-integral of the rate), from t = 1 / num_steps to 1 + 1 / num_steps of the paper's
    time, whose first step is this schedule's t = 0.

    Source: Ho, Jain & Abbeel (2020), arXiv:2006.11239, section 4; Song et al. (2021),
    arXiv:2011.13456, equation 32, for the rate.
    """

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0, *, num_steps: int = 1000):
        if not 0 < beta_min <= beta_max < math.inf or num_steps < 1:
            raise ValueError(
                "LinearBeta needs 0 < beta_min <= beta_max and num_steps of at least 1, got "
                f"{beta_min}, {beta_max} and {num_steps}."
            )
        self.beta_min, self.beta_max, self.first = beta_min, beta_max, 1 / num_steps

    def __call__(self, t: Scalar) -> Scalar:
        time = t + self.first
        noise = self.beta_min * time + 0.5 * (self.beta_max - self.beta_min) * time**2
        return jnp.log(jnp.expm1(noise))


class Cosine(nnx.Module):
    """alpha = cos(angle), sigma = sin(angle), with an angle that grows evenly between two levels.

    Source: Nichol & Dhariwal (2021), arXiv:2102.09672, equation 17, which ends at no signal at all.
    """

    def __init__(self, gamma_min: float = -10.0, gamma_max: float = 9.0):
        _require_rising("Cosine", gamma_min, gamma_max)
        self.low, self.high = (math.atan(math.exp(g / 2)) for g in (gamma_min, gamma_max))

    def __call__(self, t: Scalar) -> Scalar:
        return 2 * jnp.log(jnp.tan(self.low + (self.high - self.low) * t))


class LearnedMonotone(nnx.Module):
    """gamma(t) = gamma_0 + (gamma_1 - gamma_0) f(t), f a rising function from 0 to 1; all learned.

    f is a line and sigmoids of positive weight, scaled to [0, 1]: the ends are met exactly whatever
    the weights are. The bound's gradient teaches the ends; what is between them it does not see.

    Source: Kingma et al. (2021), arXiv:2107.00630, appendix H, where f is a monotone network.
    """

    def __init__(
        self,
        gamma_min: float = -13.3,
        gamma_max: float = 5.0,
        *,
        num_units: int = 16,
        rngs: nnx.Rngs,
    ):
        _require_rising("LearnedMonotone", gamma_min, gamma_max)
        if num_units < 1:
            raise ValueError(f"num_units must be at least 1, got {num_units}.")
        self.gamma_min = nnx.Param(jnp.asarray(gamma_min, float))
        width = gamma_max - gamma_min
        self.raw_width = nnx.Param(jnp.asarray(width + math.log(-math.expm1(-width)), float))
        # The line has most of the weight at first, and each sigmoid its place in time.
        self.raw_weights = nnx.Param(jnp.full(num_units, -5.0))
        self.centres = nnx.Param(jax.random.uniform(rngs.params(), (num_units,)))
        self.steepness = nnx.Param(jnp.full(num_units, 5.0))

    def __call__(self, t: Scalar) -> Scalar:
        start, end = self._rise(jnp.zeros_like(t)), self._rise(jnp.ones_like(t))
        share = (self._rise(t) - start) / (end - start)
        return self.gamma_min[...] + softplus(self.raw_width[...]) * share

    def _rise(self, t: Scalar) -> Scalar:
        bends = jax.nn.sigmoid(softplus(self.steepness[...]) * (t - self.centres[...]))
        return t + jnp.sum(softplus(self.raw_weights[...]) * bends)
