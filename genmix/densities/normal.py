"""Normal distribution, elementwise: the diagonal Gaussian before its event is summed."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key

from genmix.densities.distribution import Event, Numbers, check_positive

Scalars = Float[ArrayLike, "*#d"]

LOG_TWO_PI = math.log(2 * math.pi)


def log_prob(x: Scalars, loc: Scalars, scale: Scalars) -> Float[Array, "*d"]:
    """Log-density of N(loc, scale^2) at x, elementwise, in nats.

    NaN where scale <= 0 or any argument is NaN. -inf where ((x - loc) / scale)^2 overflows; the
    gradient in scale is infinite from |x - loc|^2 / scale^3 on, which overflows earlier.
    Source: Bishop (2006), Pattern Recognition and Machine Learning, equation 1.46.
    """
    x, loc, scale = jnp.asarray(x), jnp.asarray(loc), jnp.asarray(scale)
    # No test of scale: the log is NaN below zero, and at zero inf - inf or 0 / 0 is NaN too.
    return -0.5 * ((x - loc) / scale) ** 2 - jnp.log(scale) - 0.5 * LOG_TWO_PI


def sample(key: Key[Array, ""], loc: Scalars, scale: Scalars) -> Float[Array, "*d"]:
    """One draw per element, reparameterized: differentiable in loc and scale.

    NaN where scale <= 0 or an argument is NaN.
    """
    loc, scale = jnp.asarray(loc), jnp.asarray(scale)
    shape = jnp.broadcast_shapes(loc.shape, scale.shape)
    noise = jax.random.normal(key, shape, jnp.result_type(loc, scale))
    return loc + jnp.where(scale > 0, scale, jnp.nan) * noise


def entropy(loc: Scalars, scale: Scalars) -> Float[Array, "*d"]:
    """Differential entropy, elementwise, in nats; NaN where scale <= 0 or an argument is NaN."""
    loc, scale = jnp.asarray(loc), jnp.asarray(scale)
    valid = (scale > 0) & ~jnp.isnan(loc)
    return jnp.where(valid, jnp.log(scale) + 0.5 * (1 + LOG_TWO_PI), jnp.nan)


def kl(loc_p: Scalars, scale_p: Scalars, loc_q: Scalars, scale_q: Scalars) -> Float[Array, "*d"]:
    """KL(p || q), elementwise, in nats.

    NaN where a scale <= 0 or any argument is NaN; inf where (loc_p - loc_q)^2 or scale_p^2 over
    scale_q^2 overflows (the gradient in scale_q, a cube, overflows to an infinity earlier).
    Source: Kingma & Welling (2014), arXiv:1312.6114, appendix B, there for q = N(0, 1).
    """
    loc_p, scale_p = jnp.asarray(loc_p), jnp.asarray(scale_p)
    loc_q, scale_q = jnp.asarray(loc_q), jnp.asarray(scale_q)
    # expm1 of the log-ratio keeps its small digits: at p close to q the textbook form,
    # (ratio^2 - 1) / 2 - log(ratio), is a difference of two numbers that are nearly equal.
    log_ratio = jnp.log(scale_p / scale_q)
    spread = 0.5 * jnp.expm1(2 * log_ratio) - log_ratio
    shift = 0.5 * ((loc_p - loc_q) / scale_q) ** 2
    return jnp.where((scale_p > 0) & (scale_q > 0), spread + shift, jnp.nan)


class Parameters(NamedTuple):
    """Of one entry or several."""

    loc: Float[Array, "..."]
    scale: Float[Array, "..."]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Normal:
    """Real numbers, by two numbers each: loc, and raw with scale = min_scale + softplus(raw).

    Args:
        scale: the same for all, so that loc alone is left; by the second number if None.
    """

    scale: float | None = None
    min_scale: float = 1e-4
    entry_shape = ()
    num_features = 1

    def __post_init__(self):
        check_positive(min_scale=self.min_scale)
        if self.scale is not None and not 0 < self.scale < math.inf:
            raise ValueError(f"scale must be positive and finite, got {self.scale}.")

    @property
    def num_parameters(self) -> int:
        return 2 if self.scale is None else 1

    def features(self, x: Event) -> Float[Array, "*entries features"]:
        """The numbers themselves."""
        return x[..., None]

    def parameters(self, numbers: Numbers) -> Parameters:
        loc = numbers[..., 0]
        if self.scale is not None:
            return Parameters(loc, jnp.full_like(loc, self.scale))
        return Parameters(loc, self.min_scale + jax.nn.softplus(numbers[..., 1]))

    def log_prob(self, x: Event, numbers: Numbers) -> Float[Array, ""]:
        return jnp.sum(log_prob(x, *self.parameters(numbers)))

    def sample(self, key: Key[Array, ""], numbers: Numbers) -> Event:
        return sample(key, *self.parameters(numbers))

    def sample_and_log_prob(
        self, key: Key[Array, ""], numbers: Numbers
    ) -> tuple[Event, Float[Array, ""]]:
        x = self.sample(key, numbers)
        return x, self.log_prob(x, numbers)

    def mean(self, numbers: Numbers) -> Event:
        return self.parameters(numbers).loc

    def kl(self, p: Parameters, q: Parameters) -> Float[Array, "*entries"]:
        return kl(*p, *q)
