"""What a network's outputs say of one discrete entry: its log-probability, and a draw.

An entry is a vector of one channel or, as a colour pixel, of several: [channels]. Its levels are
0, 1, ..., num_levels - 1.
"""

import dataclasses
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Shaped

from genmix.densities import bernoulli, categorical, discretized_logistic

Entry = Shaped[Array, " channels"]
Parameters = Float[Array, " parameters"]
LogProb = Float[Array, ""]


@runtime_checkable
class Levels(Protocol):
    """The distribution of one entry, given num_parameters numbers.

    `features` are the num_features numbers by which the entry enters a network.
    """

    @property
    def num_channels(self) -> int: ...
    @property
    def num_features(self) -> int: ...
    @property
    def num_parameters(self) -> int: ...
    def features(self, x: Entry) -> Float[Array, " features"]: ...
    def log_prob(self, x: Entry, parameters: Parameters) -> LogProb: ...
    def sample(self, key: Key[Array, ""], parameters: Parameters) -> Entry: ...


@dataclasses.dataclass(frozen=True)
class BinaryLevels:
    """0 or 1, of any dtype, by one logit."""

    num_channels = num_features = num_parameters = 1

    def features(self, x: Entry) -> Float[Array, " features"]:
        return scaled(x, 2)

    def log_prob(self, x: Entry, parameters: Parameters) -> LogProb:
        return bernoulli.log_prob(x[0], parameters[0])

    def sample(self, key: Key[Array, ""], parameters: Parameters) -> Float[Array, " channels"]:
        return bernoulli.sample(key, parameters)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CategoricalLevels:
    """Integers, by a logit for each level.

    Args:
        one_hot: levels enter the network as indicators, not as numbers: for codes without an order.
    """

    num_levels: int
    one_hot: bool = False

    def __post_init__(self):
        _check_num_levels(self.num_levels)

    @property
    def num_channels(self) -> int:
        return 1

    @property
    def num_features(self) -> int:
        return self.num_levels if self.one_hot else 1

    @property
    def num_parameters(self) -> int:
        return self.num_levels

    def features(self, x: Entry) -> Float[Array, " features"]:
        _check_integers(x)
        if self.one_hot:
            return jax.nn.one_hot(x[0], self.num_levels)
        return scaled(x, self.num_levels)

    def log_prob(self, x: Entry, parameters: Parameters) -> LogProb:
        _check_integers(x)
        return categorical.log_prob(x[0], parameters)

    def sample(self, key: Key[Array, ""], parameters: Parameters) -> Int[Array, " channels"]:
        return categorical.sample(key, parameters)[None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogisticMixtureLevels:
    """Levels of one pixel as logistics cut into bins, mixed; a channel's depend on those before it.

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
        _check_num_levels(self.num_levels)
        if min(self.num_components, self.num_channels) < 1:
            raise ValueError(
                "num_components and num_channels must be positive, got "
                f"{self.num_components} and {self.num_channels}."
            )
        if self.min_scale <= 0:
            raise ValueError(f"min_scale must be positive, got {self.min_scale}.")

    @property
    def num_features(self) -> int:
        return self.num_channels

    @property
    def num_parameters(self) -> int:
        c = self.num_channels
        return self.num_components * (1 + 2 * c + c * (c - 1) // 2)

    def features(self, x: Entry) -> Float[Array, " features"]:
        return scaled(x, self.num_levels)

    def log_prob(self, x: Entry, parameters: Parameters) -> LogProb:
        logits, loc, scale, coefficients = self._components(parameters)
        level = x.astype(parameters.dtype)
        outside = jnp.any(discretized_logistic.is_outside(level, self.num_levels))
        # Outside, every component is -inf and the gradient of logsumexp would be NaN.
        level = jnp.where(outside, 0.0, level)
        loc = loc + coefficients @ scaled(level, self.num_levels)
        one = lambda loc, scale: jnp.sum(
            discretized_logistic.log_prob(level, loc, scale, num_levels=self.num_levels)
        )
        value = jax.nn.logsumexp(jax.nn.log_softmax(logits) + jax.vmap(one)(loc, scale))
        return jnp.where(outside & ~jnp.isnan(value), -jnp.inf, value)

    def sample(self, key: Key[Array, ""], parameters: Parameters) -> Float[Array, " channels"]:
        component_key, *level_keys = jax.random.split(key, 1 + self.num_channels)
        logits, loc, scale, coefficients = self._components(parameters)
        i = categorical.sample(component_key, logits)
        x = jnp.zeros(self.num_channels, parameters.dtype)
        for c, level_key in enumerate(level_keys):
            shift = coefficients[i, c] @ scaled(x, self.num_levels)
            level = discretized_logistic.sample(
                level_key, loc[i, c] + shift, scale[i, c], num_levels=self.num_levels
            )
            x = x.at[c].set(level)
        return x

    def _components(self, parameters: Parameters) -> tuple[Array, Array, Array, Array]:
        """Logits [k], loc and scale [k, channels], strictly triangular coefficients [k, c, c]."""
        k, c = self.num_components, self.num_channels
        logits, loc, raw_scale, raw = jnp.split(parameters, [k, k + k * c, k + 2 * k * c])
        scale = self.min_scale + jax.nn.softplus(raw_scale.reshape(k, c))
        rows, columns = jnp.tril_indices(c, -1)
        coefficients = jnp.zeros((k, c, c), parameters.dtype)
        coefficients = coefficients.at[:, rows, columns].set(jnp.tanh(raw.reshape(k, -1)))
        return logits, loc.reshape(k, c), scale, coefficients


def scaled(x: Shaped[Array, "*shape"], num_levels: int) -> Float[Array, "*shape"]:
    """Levels on [-1, 1], the first at -1 and the last at 1, without a gradient."""
    dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else jnp.result_type(float)
    return jax.lax.stop_gradient(2 * x.astype(dtype) / (num_levels - 1) - 1)


def _check_integers(x: Entry) -> None:
    if not jnp.issubdtype(x.dtype, jnp.integer):
        raise TypeError(f"CategoricalLevels are integers, got x of {x.dtype}: use x.astype(int).")


def _check_num_levels(num_levels: int) -> None:
    if num_levels < 2:
        raise ValueError(f"num_levels must be at least 2, got {num_levels}.")
