"""Logistic distribution cut into equal bins, elementwise: a likelihood of pixel levels."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key, Shaped

from genmix.densities import logistic
from genmix.densities.distribution import Event, Numbers, check_positive
from genmix.densities.normal import Parameters

Scalars = Float[ArrayLike, "*#d"]


def log_prob(
    x: Shaped[ArrayLike, "*#d"], loc: Scalars, scale: Scalars, *, num_levels: int = 256
) -> Float[Array, "*d"]:
    """Log-probability of the level x in 0..num_levels-1, of any dtype, elementwise, in nats.

    loc and scale live on [-1, 1]: level v stands at -1 + 2 v / (num_levels - 1) and owns what is
    within 1 / (num_levels - 1) of it, the first and the last level also all that lies beyond. -inf
    with zero gradient where x is no such level; NaN where scale <= 0 or any argument is NaN. No
    gradient in x.

    Raises:
        ValueError: if num_levels < 2.

    Source: Salimans, Karpathy, Chen & Kingma (2017), arXiv:1701.05517, section 2.1.
    """
    check_num_levels(num_levels)
    loc, scale = jnp.asarray(loc), jnp.asarray(scale)
    level = jax.lax.stop_gradient(jnp.asarray(x).astype(jnp.result_type(loc, scale)))
    outside = is_outside(level, num_levels)
    level = jnp.where(outside, 0.0, level)
    first, last = level == 0, level == num_levels - 1
    # Neighbours must share their edge to the last bit for the probabilities to telescope to one.
    # The numerator is exact, and a quotient, unlike a product, is not fused with the subtraction.
    left = ((2 * level - num_levels) / (num_levels - 1) - loc) / scale
    right = ((2 * level + 2 - num_levels) / (num_levels - 1) - loc) / scale
    # log(sigmoid(right) - sigmoid(left)) = -softplus(-right) - softplus(left) + log(1 - exp(left -
    # right)): exact in the tails, where both sigmoids round to the same number. The width enters
    # undiminished by loc, because right - left has lost its digits where scale or loc is large.
    width = 2 / (num_levels - 1)
    below_right = jnp.where(last, 0.0, -logistic.softplus(-right))
    above_left = jnp.where(first, 0.0, -logistic.softplus(left))
    overlap = jnp.where(first | last, 0.0, jnp.log(-jnp.expm1(-width / scale)))
    value = jnp.where(scale > 0, below_right + above_left + overlap, jnp.nan)
    return jnp.where(outside & ~jnp.isnan(value), -jnp.inf, value)


def sample(
    key: Key[Array, ""], loc: Scalars, scale: Scalars, *, num_levels: int = 256
) -> Float[Array, "*d"]:
    """One level per element, 0..num_levels-1 in the dtype of loc and scale; no gradient.

    NaN where scale <= 0 or an argument is NaN.
    """
    y = logistic.sample(key, loc, scale)
    level = jnp.round((jax.lax.stop_gradient(y) + 1) * (0.5 * (num_levels - 1)))
    return jnp.clip(level, 0, num_levels - 1)


def is_outside(x: Float[Array, "*d"], num_levels: int) -> Shaped[Array, "*d"]:
    """Whether x is a number but none of the levels 0..num_levels-1; False at NaN."""
    is_level = (x >= 0) & (x <= num_levels - 1) & (x == jnp.floor(x))
    return ~(is_level | jnp.isnan(x))


def scaled(x: Shaped[Array, "*d"], num_levels: int) -> Float[Array, "*d"]:
    """Levels on [-1, 1], the first at -1 and the last at 1, without a gradient."""
    dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else jnp.result_type(float)
    return jax.lax.stop_gradient(2 * x.astype(dtype) / (num_levels - 1) - 1)


def check_num_levels(num_levels: int) -> None:
    """Refuse fewer than two levels."""
    if num_levels < 2:
        raise ValueError(f"num_levels must be at least 2, got {num_levels}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiscretizedLogistic:
    """Levels 0, ..., num_levels - 1, by two numbers each: loc, and raw of the scale.

    The scale, for levels mapped to [-1, 1], is min_scale + softplus(raw).

    Source: Kingma et al. (2016), arXiv:1606.04934, section 5.2; Salimans et al. (2017),
    arXiv:1701.05517, section 2.1.
    """

    num_levels: int = 256
    min_scale: float = 1e-3
    entry_shape = ()
    num_parameters = 2
    num_features = 1

    def __post_init__(self):
        check_num_levels(self.num_levels)
        check_positive(min_scale=self.min_scale)

    def features(self, x: Event) -> Float[Array, "*entries features"]:
        """Levels on [-1, 1]."""
        return scaled(x, self.num_levels)[..., None]

    def parameters(self, numbers: Numbers) -> Parameters:
        """Of the logistic variables."""
        return Parameters(numbers[..., 0], self.min_scale + jax.nn.softplus(numbers[..., 1]))

    def log_prob(self, x: Event, numbers: Numbers) -> Float[Array, ""]:
        return jnp.sum(log_prob(x, *self.parameters(numbers), num_levels=self.num_levels))

    def sample(self, key: Key[Array, ""], numbers: Numbers) -> Event:
        return sample(key, *self.parameters(numbers), num_levels=self.num_levels)

    def mean(self, numbers: Numbers) -> Event:
        loc, scale = self.parameters(numbers)
        log_mass = lambda level: log_prob(
            jnp.full_like(loc, level), loc, scale, num_levels=self.num_levels
        )
        levels = jnp.arange(self.num_levels, dtype=loc.dtype)
        return jnp.tensordot(levels, jnp.exp(jax.vmap(log_mass)(levels)), axes=1)
