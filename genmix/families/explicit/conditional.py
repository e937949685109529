"""Distributions of independent entries, their numbers a network's output.

`Conditional(network, distribution)` takes any record of `genmix.densities`. The usual ones have a
name of their own: `Normal(network)` is `Conditional(network, normal.Normal())`. Others are

| record | of |
|---|---|
| `gamma.Gamma()`, `beta.Beta()` | positive numbers, numbers in (0, 1) |
| `dirichlet.Dirichlet(dim)` | probability vectors |
| `von_mises_fisher.VonMisesFisher(dim)` | unit vectors |
| `relaxed_bernoulli.RelaxedBernoulli(temperature=...)` | bits with a gradient |
| `gumbel_softmax.GumbelSoftmax(num_classes, temperature)` | one-hot vectors with a gradient |
| `poisson.Poisson()`, `negative_binomial.NegativeBinomial()` | counts |

All but the counts are reparameterized, as posteriors are; `Unconditional` makes priors of them.

The network gives [*entries, num_parameters], or [*entries] where a number is enough. One of
`genmix.nets` is made for an event's shape, and told here how many numbers each entry needs.
"""

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree, Shaped

from genmix.densities import (
    bernoulli,
    categorical,
    discretized_logistic,
    multivariate_normal,
    normal,
)
from genmix.densities import distribution as records
from genmix.densities.distribution import Distribution
from genmix.nets import one_event, outputs

Event = Shaped[Array, "..."]
Network = Callable[[PyTree], Array]
D = TypeVar("D", bound=Distribution)


@runtime_checkable
class Parametric(Protocol):
    """A part that is a distribution with known parameters, of whose kind their type tells."""

    def parameters(self, cond: PyTree = None) -> tuple[Array, ...]: ...


class _Conditional(nnx.Module, Generic[D]):
    """p(x | c) = product over entries of p(x_i; numbers_i(c))."""

    def __init__(self, network: Network, distribution: D):
        self.network, self.distribution = _told(network, distribution), distribution

    @property
    def event_shape(self) -> tuple[int, ...] | None:
        """None for a network that cannot say what it gives."""
        network = outputs.sized(self.network)
        if network is None:
            return None
        # A network that was told has no axes of its own for an entry's.
        entry = () if network.num_outputs is None else self.distribution.entry_shape
        return (*network.out_shape, *entry)

    @property
    def cond_shape(self) -> tuple[int, ...] | None:
        return outputs.in_shape(self.network)

    def numbers(self, cond: PyTree = None) -> Float[Array, "..."]:
        """What the network gives, [*entries, num_parameters].

        Raises:
            ValueError: if it has another last axis.
        """
        numbers, expected = self.network(cond), self.distribution.num_parameters
        if expected == 1 and not self.distribution.entry_shape:
            return numbers[..., None]
        if numbers.shape[-1:] != (expected,):
            raise ValueError(
                f"{_name(self)} needs {expected} numbers for each entry, on the last axis of what "
                f"its network gives, got {numbers.shape}; the networks of genmix.nets are told so."
            )
        return numbers

    def parameters(self, cond: PyTree = None) -> tuple[Array, ...]:
        """Of every entry, as the functions of its density take them."""
        return self.distribution.parameters(self.numbers(cond))

    def log_prob(self, x: Event, cond: PyTree = None) -> Float[Array, ""]:
        """Log-density of the event, in nats.

        Raises:
            TypeError: if x is no array.
            ValueError: if x has not the shape that the network gives.
        """
        one_event.require_array(f"{_name(self)} is of one array x", x)
        numbers = self.numbers(cond)
        expected = (*numbers.shape[:-1], *self.distribution.entry_shape)
        if x.shape != expected:
            raise ValueError(
                f"{_name(self)}'s network gives events of shape {expected}, got x of {x.shape}."
            )
        return self.distribution.log_prob(x, numbers)

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Event:
        return self.distribution.sample(key, self.numbers(cond))

    def kl(self, prior: Any, cond: PyTree = None, prior_cond: PyTree = None) -> Float[Array, " _"]:
        """KL(self(cond) || prior(prior_cond)) in nats, entry by entry.

        Raises:
            TypeError: if it has no closed form.
        """
        p = self.parameters(cond)
        q = prior.parameters(prior_cond) if isinstance(prior, Parametric) else None
        if type(p) is not type(q) or not isinstance(self.distribution, records.ClosedKL):
            raise TypeError(
                f"KL({_name(self)} || {type(prior).__name__}) has no closed form: use the sampled "
                "rate (analytic=False)."
            )
        return self.distribution.kl(p, q).reshape(-1)


class DiscreteConditional(_Conditional[records.Mean]):
    """A conditional distribution of levels, classes or counts."""

    def mean(self, cond: PyTree = None) -> Event:
        return self.distribution.mean(self.numbers(cond))


class RelaxedConditional(_Conditional[records.Reparameterized]):
    """A conditional distribution of real numbers whose mean has no formula."""

    def sample_and_log_prob(
        self, key: Key[Array, ""], cond: PyTree = None
    ) -> tuple[Event, Float[Array, ""]]:
        """A draw, differentiable in the network's output, and its log-density."""
        return self.distribution.sample_and_log_prob(key, self.numbers(cond))


class ContinuousConditional(_Conditional[records.ReparameterizedMean]):
    """A conditional distribution of real numbers."""

    def sample_and_log_prob(
        self, key: Key[Array, ""], cond: PyTree = None
    ) -> tuple[Event, Float[Array, ""]]:
        """A draw, differentiable in the network's output, and its log-density."""
        return self.distribution.sample_and_log_prob(key, self.numbers(cond))

    def mean(self, cond: PyTree = None) -> Event:
        return self.distribution.mean(self.numbers(cond))


class Normal(ContinuousConditional):
    """p(x | c) = N(loc(c), diag(scale(c)^2)): the usual posterior, or a likelihood of real data.

    Args:
        scale: standard deviation of all entries; the network's if None.
        min_scale: smallest of those that the network gives.
    """

    def __init__(self, network: Network, *, scale: float | None = None, min_scale: float = 1e-4):
        super().__init__(network, normal.Normal(scale=scale, min_scale=min_scale))


class FullNormal(ContinuousConditional):
    """p(x | c) = N(loc(c), L(c) L(c)^T) with L lower triangular.

    Args:
        dim: entries of x; the network's own if None.
        min_scale: smallest diagonal entry of L.
    """

    def __init__(self, network: Network, dim: int | None = None, *, min_scale: float = 1e-4):
        dim = _size(network, "FullNormal", "dim") if dim is None else dim
        super().__init__(network, multivariate_normal.FullNormal(dim, min_scale=min_scale))


class Bernoulli(DiscreteConditional):
    """p(x | c) = product of Bernoulli(x_i; sigmoid(logits_i(c))): a likelihood of binary images."""

    def __init__(self, network: Network):
        super().__init__(network, bernoulli.Bernoulli())


class Categorical(DiscreteConditional):
    """p(x | c) = product of Categorical(x_i; softmax(logits_i(c))) for integer events."""

    def __init__(self, network: Network, *, num_levels: int):
        super().__init__(network, categorical.Categorical(num_levels=num_levels))


class OneHot(DiscreteConditional):
    """p(x | c) = softmax(logits(c)) of the entry of x that is one: a class for critics and codes.

    Args:
        num_classes: entries of x; the network's own if None.
    """

    def __init__(self, network: Network, num_classes: int | None = None):
        size = _size(network, "OneHot", "num_classes") if num_classes is None else num_classes
        super().__init__(network, categorical.OneHot(size))

    def support(
        self, cond: PyTree = None
    ) -> tuple[Float[Array, "classes classes"], Float[Array, " classes"]]:
        """Every class as a one-hot vector, with its log-probability, in nats."""
        log_p = jax.nn.log_softmax(self.numbers(cond))
        return jnp.eye(len(log_p), dtype=log_p.dtype), log_p


class DiscretizedLogistic(DiscreteConditional):
    """p(x | c) for events of levels 0 .. num_levels - 1, entries independent given c."""

    def __init__(self, network: Network, *, num_levels: int = 256, min_scale: float = 1e-3):
        record = discretized_logistic.DiscretizedLogistic(
            num_levels=num_levels, min_scale=min_scale
        )
        super().__init__(network, record)


def Conditional(
    network: Network, distribution: Distribution
) -> DiscreteConditional | RelaxedConditional | ContinuousConditional:
    """p(x | c) of any record, with the capabilities that the record has.

    Args:
        network: condition -> numbers of every entry.
        distribution: such as `gamma.Gamma()`, a gamma for each entry.

    Raises:
        TypeError: if the record has neither a mean nor a reparameterized draw.
        ValueError: if the network's events do not have the record's entries.
    """
    if isinstance(distribution, records.ReparameterizedMean):
        return ContinuousConditional(network, distribution)
    if isinstance(distribution, records.Reparameterized):
        return RelaxedConditional(network, distribution)
    if isinstance(distribution, records.Mean):
        return DiscreteConditional(network, distribution)
    raise TypeError(
        f"Conditional needs a record with mean or sample_and_log_prob, such as normal.Normal(); "
        f"got {type(distribution).__name__}."
    )


def _name(part: _Conditional) -> str:
    return type(part.distribution).__name__


def _told(network: Network, distribution: Distribution) -> Network:
    """The network, told how many numbers each entry needs if it can be."""
    shape, entry = outputs.out_shape(network), distribution.entry_shape
    if shape is None:
        return network
    entries = shape[: len(shape) - len(entry)]
    if shape != (*entries, *entry):
        raise ValueError(
            f"{type(distribution).__name__} is of entries of shape {entry}, on the last axes of "
            f"an event, but its network is of events of shape {shape}."
        )
    count = distribution.num_parameters
    is_enough = (count == 1 and not entry) or (*entries, count) == shape
    return network if is_enough else outputs.told(network, entries, count)


def _size(network: Network, part: str, argument: str) -> int:
    """Last axis of the event that a network is of."""
    shape = outputs.out_shape(network)
    if not shape:
        raise ValueError(
            f"{part} cannot ask {type(network).__name__} for the size of its events: give "
            f"{argument}."
        )
    return shape[-1]
