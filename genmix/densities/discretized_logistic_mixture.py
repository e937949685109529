"""Mixture of discretized logistics: the likelihood of one pixel in PixelCNN++."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key, Shaped

from genmix.densities import categorical, discretized_logistic
from genmix.densities.discretized_logistic import check_num_levels, scaled
from genmix.densities.distribution import (
    Event,
    Numbers,
    check_positive,
    sample_entries,
    sum_entries,
)
from genmix.densities.multivariate_normal import check_shape

Vector = Float[Array, " _"]


def log_prob(
    x: Shaped[ArrayLike, ""], logits: Vector, loc: Vector, scale: Vector, *, num_levels: int = 256
) -> Float[Array, ""]:
    """Log-probability of one level x, of any dtype, under k components [k], in nats.

    Component i has weight softmax(logits)_i, where logits of -inf are allowed, and is
    `discretized_logistic` with loc_i, scale_i on [-1, 1]. -inf with zero gradient where x is not
    in 0..num_levels-1; NaN where a scale <= 0, any argument is NaN or all logits are -inf.

    Raises:
        ValueError: if num_levels < 2, or loc or scale does not fit logits.

    Source: Salimans, Karpathy, Chen & Kingma (2017), arXiv:1701.05517, section 2.1.
    """
    check_shape("loc", loc, logits.shape)
    check_shape("scale", scale, logits.shape)
    level = jnp.asarray(x).astype(jnp.result_type(logits, loc, scale))
    outside = discretized_logistic.is_outside(level, num_levels)
    # Outside, every component is -inf and the gradient of logsumexp would be NaN.
    safe_level = jnp.where(outside, 0.0, level)
    components = discretized_logistic.log_prob(safe_level, loc, scale, num_levels=num_levels)
    value = jax.nn.logsumexp(jax.nn.log_softmax(logits) + components)
    return jnp.where(outside & ~jnp.isnan(value), -jnp.inf, value)


def sample(
    key: Key[Array, ""], logits: Vector, loc: Vector, scale: Vector, *, num_levels: int = 256
) -> Float[Array, ""]:
    """One level, 0..num_levels-1 in the dtype of loc and scale; no gradient.

    NaN where the component drawn has scale <= 0 or a NaN.

    Raises:
        ValueError: if loc or scale does not fit logits.
    """
    check_shape("loc", loc, logits.shape)
    check_shape("scale", scale, logits.shape)
    component_key, level_key = jax.random.split(key)
    i = categorical.sample(component_key, logits)
    return discretized_logistic.sample(level_key, loc[i], scale[i], num_levels=num_levels)


class Parameters(NamedTuple):
    """Of one entry or several: k components of c channels."""

    logits: Float[Array, "*entries k"]
    loc: Float[Array, "*entries k c"]
    scale: Float[Array, "*entries k c"]
    coefficients: Float[Array, "*entries k c c"]  # strictly lower triangular


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiscretizedLogisticMixture:
    """Levels 0, ..., num_levels - 1 of one channel or, as a colour pixel, of several.

    Of k components, each has a weight and, for every channel, loc and scale on [-1, 1]; loc moves
    linearly with the channels before, with coefficients in (-1, 1). One component is drawn for the
    whole pixel. With one component and one channel this is the discretized logistic.

    Args:
        min_scale: smallest scale; it is min_scale + softplus(raw).

    Source: Salimans et al. (2017), arXiv:1701.05517, sections 2.1 and 2.2.
    """

    num_components: int = 10
    num_channels: int = 1
    num_levels: int = 256
    min_scale: float = 1e-3

    def __post_init__(self):
        check_num_levels(self.num_levels)
        if min(self.num_components, self.num_channels) < 1:
            raise ValueError(
                "num_components and num_channels must be positive, got "
                f"{self.num_components} and {self.num_channels}."
            )
        check_positive(min_scale=self.min_scale)

    @property
    def entry_shape(self) -> tuple[int, ...]:
        return () if self.num_channels == 1 else (self.num_channels,)

    @property
    def num_features(self) -> int:
        return self.num_channels

    @property
    def num_parameters(self) -> int:
        c = self.num_channels
        return self.num_components * (1 + 2 * c + c * (c - 1) // 2)

    def features(self, x: Event) -> Float[Array, "*entries features"]:
        """Levels on [-1, 1]."""
        levels = scaled(x, self.num_levels)
        return levels if self.entry_shape else levels[..., None]

    def parameters(self, numbers: Numbers) -> Parameters:
        k, c = self.num_components, self.num_channels
        ends = [k, k + k * c, k + 2 * k * c]
        logits, loc, raw_scale, raw = jnp.split(numbers, ends, axis=-1)
        of_channels = lambda a: a.reshape(*a.shape[:-1], k, -1)
        rows, columns = jnp.tril_indices(c, -1)
        coefficients = jnp.zeros((*numbers.shape[:-1], k, c, c), numbers.dtype)
        coefficients = coefficients.at[..., rows, columns].set(jnp.tanh(of_channels(raw)))
        scale = self.min_scale + jax.nn.softplus(of_channels(raw_scale))
        return Parameters(logits, of_channels(loc), scale, coefficients)

    def log_prob(self, x: Event, numbers: Numbers) -> Float[Array, ""]:
        return sum_entries(lambda x, n: self._log_prob(x, *self.parameters(n)), x, numbers)

    def sample(self, key: Key[Array, ""], numbers: Numbers) -> Event:
        draw = lambda key, n: self._sample(key, *self.parameters(n)).reshape(self.entry_shape)
        return sample_entries(draw, key, numbers)

    def _log_prob(self, x: Array, logits: Array, loc: Array, scale: Array, coefficients: Array):
        level = x.astype(logits.dtype).reshape(-1)
        outside = jnp.any(discretized_logistic.is_outside(level, self.num_levels))
        # Outside, every component is -inf and the gradient of logsumexp would be NaN.
        level = jnp.where(outside, 0.0, level)
        loc = loc + coefficients @ scaled(level, self.num_levels)
        one = lambda loc, scale: jnp.sum(
            discretized_logistic.log_prob(level, loc, scale, num_levels=self.num_levels)
        )
        value = jax.nn.logsumexp(jax.nn.log_softmax(logits) + jax.vmap(one)(loc, scale))
        return jnp.where(outside & ~jnp.isnan(value), -jnp.inf, value)

    def _sample(
        self, key: Key[Array, ""], logits: Array, loc: Array, scale: Array, coefficients: Array
    ) -> Float[Array, " c"]:
        component_key, *level_keys = jax.random.split(key, 1 + self.num_channels)
        i = categorical.sample(component_key, logits)
        x = jnp.zeros(self.num_channels, logits.dtype)
        for c, level_key in enumerate(level_keys):
            shift = coefficients[i, c] @ scaled(x, self.num_levels)
            level = discretized_logistic.sample(
                level_key, loc[i, c] + shift, scale[i, c], num_levels=self.num_levels
            )
            x = x.at[c].set(level)
        return x
