"""Densities of events, one entry after the other; what comes when is a network's choice.

| network | entries | reads as |
|---|---|---|
| `nets.StepwiseMADE` | a vector, in any order | MADE |
| `nets.NADE` | a vector | NADE |
| `nets.GatedPixelCNN` | an image, row by row | PixelCNN, PixelCNN++ |
| `nets.DiagonalBiLSTM`, `nets.RowLSTM` | an image, row by row | PixelRNN |

The condition is a vector or, for images, a map too. Against a condition that is ignored, all can
have hidden entries (`InputDropout`), `GatedPixelCNN` and `RowLSTM` a limited reach.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree, Shaped

from genmix.densities.distribution import Enters
from genmix.nets import outputs

Event = Shaped[Array, "..."]
Encoder = Callable[[PyTree], PyTree]
Choose = Callable[[PyTree, Array], tuple[PyTree, Array]]


@runtime_checkable
class StepwiseNetwork(Protocol):
    """Outputs for every entry that depend on the entries before it, and on no others.

    `network(features, cond)` gives them for the whole event: [*shape, features] -> [*shape,
    outputs]. `generate(choose, inputs, cond)` visits the entries in their order, and calls
    `choose(inputs of the entry, outputs of the entry) -> (result, features of the entry)`; it gives
    the results, with the entries' axes in front.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def num_features(self) -> int: ...
    @property
    def num_outputs(self) -> int: ...
    def __call__(self, features: Array, cond: PyTree = None) -> Float[Array, "..."]: ...
    def generate(self, choose: Choose, inputs: PyTree, cond: PyTree = None) -> PyTree: ...


if TYPE_CHECKING:
    Network = StepwiseNetwork
    Record = Enters
else:  # refused in words of its own, which a type check of arguments would preempt
    Network = Record = Any


class Autoregressive(nnx.Module):
    """p(x | c) = product of p(x_i | x_before i, c): a likelihood, a prior of codes, or a model.

    Args:
        network: gives the numbers of each entry, such as `GatedPixelCNN`; it is told how many.
        distribution: what they say of the entry, such as `bernoulli.Bernoulli()`.
        shape: of the event; by default the network's, with the axes of an entry that is no number
            last. Numbers of an image may have a last axis of 1; a vector's entries any shape.
        encoder: condition -> the network's condition, such as a decoder from z to a feature map.

    Raises:
        TypeError: if the network cannot say its outputs entry by entry, or the distribution not how
            an entry enters it.
        ValueError: if network, distribution and shape do not fit each other.

    Source: Larochelle & Murray (2011), The neural autoregressive distribution estimator; Germain et
    al. (2015), arXiv:1502.03509; van den Oord et al. (2016), arXiv:1606.05328.
    """

    def __init__(
        self,
        network: Network,
        distribution: Record,
        *,
        shape: Sequence[int] | None = None,
        encoder: Encoder | None = None,
    ):
        self.network, self.distribution = _told(network, distribution), distribution
        entry = distribution.entry_shape
        default = (*self.network.shape, *entry)
        self.shape = default if shape is None else tuple(shape)
        fits = self.shape == default or (not entry and self.shape == (*default, 1))
        if len(self.network.shape) == 1:
            fits = math.prod(self.shape) == math.prod(default) and (
                not entry or self.shape[-len(entry) :] == entry
            )
        if not fits:
            raise ValueError(
                f"Events of shape {self.shape} do not fill the network's {default}: an image keeps "
                "its height and width, a vector its number of entries."
            )
        if encoder is not None:
            _require_encoding(self.network, encoder)
        self.encoder = encoder

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.shape

    @property
    def cond_shape(self) -> tuple[int, ...] | None:
        if self.encoder is not None:
            return outputs.in_shape(self.encoder)
        known = outputs.cond_shapes(self.network)
        return known[0] if len(known) == 1 else None

    def numbers(
        self, x: Event, cond: PyTree = None, keep: Event | None = None
    ) -> Float[Array, "..."]:
        """The network's outputs at x, [*its shape, num_parameters]: those of its distribution."""
        features = self.distribution.features(self._entries(x))
        if keep is not None:
            features = features * self._kept(keep)[..., None].astype(features.dtype)
        return self.network(features, self._given(cond))

    def log_prob(
        self, x: Event, cond: PyTree = None, keep: Event | None = None
    ) -> Float[Array, ""]:
        """Log-density of x, in nats; -inf where an entry is off the distribution's support.

        Args:
            keep: of the network's shape; an entry with 0 is hidden from those after it.
        """
        return self.distribution.log_prob(self._entries(x), self.numbers(x, cond, keep))

    def sample(self, key: Key[Array, ""], cond: PyTree = None, keep: Event | None = None) -> Event:
        """One event, at about the cost of one pass of the network; `keep` as in `log_prob`."""
        shape = self.network.shape
        entries = jnp.arange(math.prod(shape)).reshape(shape)
        kept = jnp.ones(shape) if keep is None else self._kept(keep)

        def choose(inputs: PyTree, numbers: Array) -> tuple[Array, Array]:
            i, kept = inputs
            x = self.distribution.sample(jax.random.fold_in(key, i), numbers)
            features = self.distribution.features(x)
            return x, features * kept.astype(features.dtype)

        x = self.network.generate(choose, (entries, kept), self._given(cond))
        return x.reshape(self.shape)

    def _entries(self, x: Event) -> Event:
        """x as the network and the distribution have it: [*network's shape, *entry's shape]."""
        if x.shape != self.shape:
            raise ValueError(
                f"Autoregressive expects one event of shape {self.shape}, got {x.shape}; for a "
                "batch use jax.vmap."
            )
        return x.reshape(*self.network.shape, *self.distribution.entry_shape)

    def _kept(self, keep: Event) -> Event:
        if keep.shape != self.network.shape:
            raise ValueError(
                f"keep must have the network's shape {self.network.shape}, got {keep.shape}."
            )
        return keep

    def _given(self, cond: PyTree) -> PyTree:
        return cond if self.encoder is None else self.encoder(cond)


def _told(network: Network, distribution: Record) -> StepwiseNetwork:
    """The network, told by how many numbers an entry enters and how many it needs."""
    if not isinstance(network, StepwiseNetwork):
        raise TypeError(
            "Autoregressive needs a network that can be asked entry by entry (with shape and "
            f"generate), which {type(network).__name__} is not: use StepwiseMADE(made), NADE or "
            "GatedPixelCNN."
        )
    name = type(distribution).__name__
    if not isinstance(distribution, Enters):
        raise TypeError(
            "Autoregressive needs a record that says how an entry enters the network (num_features "
            f"and features), such as bernoulli.Bernoulli() or normal.Normal(); got {name}."
        )
    expected = (distribution.num_features, distribution.num_parameters)
    if isinstance(network, outputs.SizedByEntry):
        return network.with_entries(*expected)
    got = (network.num_features, network.num_outputs)
    if got != expected:
        raise ValueError(
            f"{name} gives {expected[0]} features and needs {expected[1]} outputs for each entry, "
            f"but {type(network).__name__} has num_features {got[0]} and num_outputs {got[1]}."
        )
    return network


def _require_encoding(network: Network, encoder: Encoder) -> None:
    """Check that the encoder gives what the network takes for its condition, if both say so."""
    says, taken = outputs.sized(encoder), outputs.cond_shapes(network)
    given = None if says is None or says.num_outputs is not None else says.out_shape
    if given is not None and taken and given not in taken:
        raise ValueError(
            f"The encoder gives a condition of shape {given}, but {type(network).__name__} takes "
            f"{' or '.join(map(str, taken))}."
        )
