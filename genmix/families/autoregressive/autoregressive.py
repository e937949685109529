"""Densities of discrete events, one entry after the other; what comes when is a network's choice.

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
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree, Shaped

from genmix.families.autoregressive.levels import Levels

Event = Shaped[Array, "..."]
Encoder = Callable[[Any], PyTree]
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


class Autoregressive(nnx.Module):
    """p(x | c) = product of p(x_i | x_before i, c): a likelihood, a prior of codes, or a model.

    Args:
        network: gives the parameters of each entry, such as `GatedPixelCNN`.
        levels: what the parameters say of the entry, such as `BinaryLevels()`.
        shape: of the event; by default the network's, with the channels last if there are several.
            A single channel may be an axis of its own; a vector's entries may have any shape.
        encoder: condition -> the network's condition, such as a decoder from z to a feature map.

    Raises:
        TypeError: if the network cannot say its outputs entry by entry.
        ValueError: if network, levels and shape do not fit each other.

    Source: Larochelle & Murray (2011), The neural autoregressive distribution estimator; Germain et
    al. (2015), arXiv:1502.03509; van den Oord et al. (2016), arXiv:1606.05328.
    """

    def __init__(
        self,
        network: Any,
        levels: Levels,
        *,
        shape: Sequence[int] | None = None,
        encoder: Encoder | None = None,
    ):
        if not isinstance(network, StepwiseNetwork):
            raise TypeError(
                "Autoregressive needs a network that can be asked entry by entry (with shape and "
                f"generate), which {type(network).__name__} is not: use StepwiseMADE(made), NADE "
                "or GatedPixelCNN."
            )
        got = (network.num_features, network.num_outputs)
        expected = (levels.num_features, levels.num_parameters)
        if got != expected:
            raise ValueError(
                f"{type(levels).__name__} gives {expected[0]} features and needs {expected[1]} "
                f"outputs for each entry, but {type(network).__name__} has num_features {got[0]} "
                f"and num_outputs {got[1]}."
            )
        channels = levels.num_channels
        full = (*network.shape, channels)
        default = network.shape if channels == 1 else full
        self.shape = default if shape is None else tuple(shape)
        fits = self.shape in (default, full)
        if len(network.shape) == 1:
            fits = math.prod(self.shape) == math.prod(full) and (
                channels == 1 or self.shape[-1:] == (channels,)
            )
        if not fits:
            raise ValueError(
                f"Events of shape {self.shape} do not fill the network's {default}: an image keeps "
                "its height and width, a vector its number of entries."
            )
        self.network, self.levels, self.encoder = network, levels, encoder

    def parameters(
        self, x: Event, cond: PyTree = None, keep: Event | None = None
    ) -> Float[Array, "..."]:
        """The network's outputs at x, for every entry; last axis: the parameters of its levels."""
        features = jax.vmap(self.levels.features)(self._entries(x))
        if keep is not None:
            features = features * self._kept(keep).reshape(-1, 1).astype(features.dtype)
        features = features.reshape(*self.network.shape, -1)
        return self.network(features, self._given(cond))

    def log_prob(
        self, x: Event, cond: PyTree = None, keep: Event | None = None
    ) -> Float[Array, ""]:
        """Log-probability of x, in nats; -inf where an entry is none of its levels.

        Args:
            keep: of the network's shape; an entry with 0 is hidden from those after it.
        """
        parameters = self.parameters(x, cond, keep)
        entries, flat = self._entries(x), parameters.reshape(-1, parameters.shape[-1])
        return jnp.sum(jax.vmap(self.levels.log_prob)(entries, flat))

    def sample(self, key: Key[Array, ""], cond: PyTree = None, keep: Event | None = None) -> Event:
        """One event, at about the cost of one pass of the network; `keep` as in `log_prob`."""
        shape = self.network.shape
        entries = jnp.arange(math.prod(shape)).reshape(shape)
        kept = jnp.ones(shape) if keep is None else self._kept(keep)

        def choose(inputs: PyTree, parameters: Array) -> tuple[Array, Array]:
            i, kept = inputs
            x = self.levels.sample(jax.random.fold_in(key, i), parameters)
            features = self.levels.features(x)
            return x, features * kept.astype(features.dtype)

        x = self.network.generate(choose, (entries, kept), self._given(cond))
        return x.reshape(self.shape)

    def _entries(self, x: Event) -> Shaped[Array, "entries channels"]:
        if x.shape != self.shape:
            raise ValueError(
                f"Autoregressive expects one event of shape {self.shape}, got {x.shape}; for a "
                "batch use jax.vmap."
            )
        return x.reshape(-1, self.levels.num_channels)

    def _kept(self, keep: Event) -> Event:
        if keep.shape != self.network.shape:
            raise ValueError(
                f"keep must have the network's shape {self.network.shape}, got {keep.shape}."
            )
        return keep

    def _given(self, cond: PyTree) -> PyTree:
        return cond if self.encoder is None else self.encoder(cond)
