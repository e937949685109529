"""Restricted Boltzmann machines: binary hidden units, and visible ones of a record's kind.

p(v, h) = h0(v) exp(b.v + c.h + v.W h) / Z. Given one layer the units of the other are independent,
each of an exponential family whose natural parameter is its field, b + W h or c + W'v.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Key, PyTree

from genmix.densities import bernoulli, exponential_families
from genmix.densities.distribution import Distribution
from genmix.densities.exponential_family import ExponentialFamily
from genmix.densities.logistic import softplus
from genmix.mcmc import annealed_importance, bridge, gibbs, importance
from genmix.nets import state

_MAX_ENUMERATED = 22  # hidden units: four million states
_STATES_AT_ONCE = 2**10


@dataclasses.dataclass(frozen=True)
class Units:
    """Visible units, each of a record whose family has one natural parameter and T(v) = v.

    Raises:
        ValueError: if it has several numbers for an entry.
    """

    distribution: Distribution

    def __post_init__(self):
        record = self.distribution
        if record.num_parameters != 1 or record.entry_shape:
            raise ValueError(
                f"Visible units have one number each, their field, and {record} has "
                f"{record.num_parameters}: use such as bernoulli.Bernoulli(), poisson.Poisson() or "
                "normal.Normal(scale=1.0)."
            )
        _ = self.family  # refuses a record of no family

    @property
    def family(self) -> ExponentialFamily:
        return exponential_families.of(self.distribution)

    def log_base(self, v: Array) -> Array:
        return jnp.vectorize(self.family.log_base)(v)

    def log_partition(self, field: Array) -> Array:
        return jnp.vectorize(self.family.log_partition)(field)

    def sample(self, key: Key[Array, ""], field: Array) -> Array:
        return self.family.sample(key, field)

    def mean(self, field: Array) -> Array:
        return self.family.mean_from_natural(field)

    def field_of_mean(self, mean: Array) -> Array:
        return self.family.natural_from_mean(mean)


class RestrictedBoltzmann(nnx.Module):
    """Density of v [num_visible], known up to its normalizer, and the Gibbs chain that draws it.

    Source: Smolensky (1986); Hinton (2002), Neural Computation 14(8); Welling, Rosen-Zvi & Hinton
    (2005), Exponential Family Harmoniums, for other visible units.
    """

    def __init__(
        self,
        num_visible: int,
        num_hidden: int,
        *,
        visible: Distribution | None = None,
        rngs: nnx.Rngs,
    ):
        """Small weights, no biases.

        Args:
            visible: the record of a unit: `bernoulli.Bernoulli()`, the default, `poisson.Poisson()`
                or `normal.Normal(scale=1.0)`, whose data are to be standardized.

        Raises:
            ValueError: if there are no units, or the record has not one number for each.
            TypeError: if it is of no exponential family.
        """
        for name, value in (("num_visible", num_visible), ("num_hidden", num_hidden)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        weights = 0.01 * jax.random.normal(rngs.params(), (num_visible, num_hidden))
        self.weights = nnx.Param(weights)
        self.visible_bias = nnx.Param(jnp.zeros(num_visible))
        self.hidden_bias = nnx.Param(jnp.zeros(num_hidden))
        self.visible = Units(bernoulli.Bernoulli() if visible is None else visible)

    def log_unnormalized(self, v: Float[ArrayLike, "..."], cond: PyTree = None) -> Float[Array, ""]:
        """Minus the free energy: log of the sum over h of exp(-energy), in nats."""
        del cond
        v = self._checked(v)
        log_base = jnp.sum(self.visible.log_base(v))
        return log_base + v @ self.visible_bias[...] + jnp.sum(softplus(self.hidden_field(v)))

    def hidden_field(self, v: Float[ArrayLike, "..."]) -> Float[Array, " h"]:
        """Logits of the hidden units given the visible ones."""
        return self._checked(v) @ self.weights[...] + self.hidden_bias[...]

    def visible_field(self, h: Float[Array, " h"]) -> Float[Array, " v"]:
        """Natural parameters of the visible units given the hidden ones."""
        return self.weights[...] @ h + self.visible_bias[...]

    def chain_kernel(self) -> gibbs.Kernel:
        """Block Gibbs sampling, which leaves p(v) invariant: h given v, then v given h."""
        return gibbs.build([self._draw])

    def _draw(self, key: Key[Array, ""], v: Float[ArrayLike, "..."]) -> Float[Array, " v"]:
        hidden_key, visible_key = jax.random.split(key)
        h = bernoulli.sample(hidden_key, self.hidden_field(v))
        return self.visible.sample(visible_key, self.visible_field(h))

    def mean(self, h: Float[Array, " h"]) -> Float[Array, " v"]:
        """Mean of the visible units given the hidden ones."""
        return self.visible.mean(self.visible_field(h))

    def copied(self, *, visible: int = 1, hidden: int = 1) -> "RestrictedBoltzmann":
        """The machine with so many copies of its layers, which share parameters.

        Differentiable: `contrastive_divergence(1).of(lambda m: m.copied(visible=2))` trains these.

        Source: Salakhutdinov & Hinton (2009), Deep Boltzmann Machines, AISTATS, section 3.1.
        """
        values = {
            "weights": jnp.tile(self.weights[...], (visible, hidden)),
            "visible_bias": jnp.tile(self.visible_bias[...], visible),
            "hidden_bias": jnp.tile(self.hidden_bias[...], hidden),
        }
        return state.with_variables(self, values)

    def _checked(self, v: ArrayLike) -> Array:
        v, expected = jnp.asarray(v), self.visible_bias[...].shape
        if v.shape != expected:
            raise ValueError(
                f"RestrictedBoltzmann expects one v of shape {expected}, got {v.shape}; for a "
                "batch use jax.vmap."
            )
        return v


def log_partition(model: RestrictedBoltzmann) -> Float[Array, ""]:
    """Exact log Z, in nats, by a sum over all states of the hidden units.

    Raises:
        ValueError: if there are more than 22 of them.
    """
    num_hidden = model.hidden_bias[...].size
    if num_hidden > _MAX_ENUMERATED:
        raise ValueError(
            f"log_partition sums over 2^{num_hidden} states; up to {_MAX_ENUMERATED} hidden units "
            "are possible: estimate it by log_partition_ais."
        )
    at_once = min(_STATES_AT_ONCE, 2**num_hidden)

    def add(total, first):
        numbers = first + jnp.arange(at_once)
        states = (numbers[:, None] >> jnp.arange(num_hidden)[None]) & 1
        h = states.astype(model.weights[...].dtype)
        fields = jax.vmap(model.visible_field)(h)
        terms = h @ model.hidden_bias[...] + jnp.sum(model.visible.log_partition(fields), axis=1)
        return jnp.logaddexp(total, jax.nn.logsumexp(terms)), None

    firsts = jnp.arange(2**num_hidden // at_once) * at_once
    start = jnp.array(-jnp.inf, model.weights[...].dtype)
    return jax.lax.scan(add, start, firsts)[0]


class Path(NamedTuple):
    """From independent visible units to a machine: its parameters times beta, and base_field.

    The hidden units are summed over, so that weights vary less than those of p(v, h) would.

    Source: Salakhutdinov & Murray (2008), On the Quantitative Analysis of Deep Belief Networks,
    section 4.1.
    """

    model: RestrictedBoltzmann
    base_field: Float[Array, " v"]

    def sample(self, key: Key[Array, ""]) -> Float[Array, " v"]:
        return self.model.visible.sample(key, self.base_field)

    def log_ratio(self, v: Float[Array, " v"], beta: Array, next_beta: Array) -> Float[Array, ""]:
        field = self.model.hidden_field(v)
        hidden = jnp.sum(softplus(next_beta * field) - softplus(beta * field))
        return hidden + (next_beta - beta) * (v @ (self.model.visible_bias[...] - self.base_field))

    def kernel(self, beta: Array) -> gibbs.Kernel:
        def draw(key, v):
            hidden_key, visible_key = jax.random.split(key)
            h = bernoulli.sample(hidden_key, beta * self.model.hidden_field(v))
            field = (1 - beta) * self.base_field + beta * self.model.visible_field(h)
            return self.model.visible.sample(visible_key, field)

        return gibbs.build([draw])

    def log_partition(self) -> Float[Array, ""]:
        """Of the machine at beta = 0, in nats: what the base was divided by."""
        num_hidden = self.model.hidden_bias[...].size
        visible = jnp.sum(self.model.visible.log_partition(self.base_field))
        return visible + num_hidden * jnp.log(2.0)


def log_partition_ais(
    key: Key[Array, ""],
    model: RestrictedBoltzmann,
    base_mean: Float[ArrayLike, "..."],
    inverse_temperatures: bridge.Schedule,
) -> Float[Array, ""]:
    """Log of one unbiased estimate of Z, by annealed importance sampling, in nats.

    Average several inside the logarithm: log Z is then bounded from below in expectation, and the
    negative log-likelihoods that it gives are too optimistic where the schedule is too coarse.

    Args:
        base_mean: mean of the independent visible units to start from, such as that of the data,
            smoothed so that no binary unit is always the same.
        inverse_temperatures: from 0 to 1, such as `salakhutdinov_schedule`.

    Raises:
        ValueError: if base_mean has another shape, or a mean of a binary unit is known and not
            inside (0, 1); or as `annealed_importance.run`.
    """
    base_mean = jnp.asarray(base_mean)
    if base_mean.shape != model.visible_bias[...].shape:
        raise ValueError(
            f"base_mean must have shape {model.visible_bias[...].shape}, got {base_mean.shape}."
        )
    base_field = model.visible.field_of_mean(base_mean)
    if not isinstance(base_field, Tracer) and not np.all(np.isfinite(base_field)):
        raise ValueError(
            "base_mean of binary units must be inside (0, 1): mix it with a half, as in "
            "(sum(x) + 0.5) / (n + 1)."
        )
    path = Path(model, base_field)
    log_weight = annealed_importance.run(key, path, inverse_temperatures).log_weight
    return path.log_partition() + log_weight


def annealed_log_partition(
    key: Key[Array, ""],
    model: RestrictedBoltzmann,
    base_mean: Float[ArrayLike, "..."],
    inverse_temperatures: bridge.Schedule,
    *,
    num_paths: int,
) -> importance.Estimate:
    """Log of the mean of num_paths estimates of `log_partition_ais`, with its standard error."""
    path = lambda key: log_partition_ais(key, model, base_mean, inverse_temperatures)
    return importance.log_evidence(jax.vmap(path)(jax.random.split(key, num_paths)))


def salakhutdinov_schedule(num_temperatures: int = 14_500) -> Float[np.ndarray, " t"]:
    """Inverse temperatures denser towards 1: 500 to 0.5, 4,000 to 0.9 and 10,000 to 1, or shares.

    Source: Salakhutdinov & Murray (2008), section 4.1.
    """
    if num_temperatures < 29:
        raise ValueError(f"num_temperatures must be at least 29, got {num_temperatures}.")
    low, middle = num_temperatures * 500 // 14_500, num_temperatures * 4000 // 14_500
    high = num_temperatures - low - middle
    pieces = (
        np.linspace(0, 0.5, low, endpoint=False),
        np.linspace(0.5, 0.9, middle, endpoint=False),
        np.linspace(0.9, 1.0, high),
    )
    return np.concatenate(pieces)
