"""How a part tells its network how many numbers it needs for each entry of its event."""

import copy
import weakref
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar, runtime_checkable

import jax
from flax import nnx
from jaxtyping import Array, PyTree

L = TypeVar("L")
N = TypeVar("N")
S = TypeVar("S")


@runtime_checkable
class Sized(Protocol):
    """A network that gives one number for each entry of an event, or more if it is told to.

    `with_outputs(shape, num_outputs)` is the network that gives [*shape, num_outputs]; only its
    last layer is drawn again, and not even that if it gives so many already.
    """

    @property
    def out_shape(self) -> tuple[int, ...]: ...
    @property
    def num_outputs(self) -> int | None: ...
    def with_outputs(self, shape: tuple[int, ...], num_outputs: int) -> "Sized": ...
    def __call__(self, x: PyTree) -> Array: ...


@runtime_checkable
class SizedByEntry(Protocol):
    """A network over the entries of an event, each of which sees those before it.

    `with_entries(num_features, num_outputs)` is the network that an entry enters by num_features
    numbers, and that gives num_outputs for each; itself if that is what it is.
    """

    def with_entries(self: N, num_features: int, num_outputs: int) -> N: ...


@runtime_checkable
class Wrapper(Protocol):
    """What changes a network's inputs, such as `Rescale`: it is told through it."""

    network: Callable[..., Array]

    def __call__(self, x: PyTree) -> Array: ...


@runtime_checkable
class InputWrapper(Wrapper, Protocol):
    """A wrapper that says that it gives what its network gives, and in the same shape."""

    changes_inputs_alone: bool


@runtime_checkable
class TakesArray(Protocol):
    """A network of one array of a known shape; None if it is not known."""

    @property
    def in_shape(self) -> tuple[int, ...] | None: ...
    def __call__(self, x: PyTree) -> Array: ...


@runtime_checkable
class TakesCondition(Protocol):
    """A network that takes a condition beside its inputs, of one of a few shapes; () ignores it."""

    @property
    def cond_shapes(self) -> tuple[tuple[int, ...], ...]: ...


def out_shape(network: object) -> tuple[int, ...] | None:
    """Shape of the event that a network is of; None if it cannot say so."""
    if isinstance(network, Sized):
        return network.out_shape
    return out_shape(network.network) if isinstance(network, Wrapper) else None


def sized(network: object) -> Sized | None:
    """The network that says what is given; None if it is inside of what may change that."""
    if isinstance(network, Sized):
        return network
    if not isinstance(network, InputWrapper) or not network.changes_inputs_alone:
        return None
    return sized(network.network)


def in_shape(network: object) -> tuple[int, ...] | None:
    """Shape of the array that a network takes; None if it cannot say so."""
    return network.in_shape if isinstance(network, TakesArray) else None


def cond_shapes(network: object) -> tuple[tuple[int, ...], ...]:
    """Shapes that a network takes for its condition; none if it ignores it or cannot say so."""
    return network.cond_shapes if isinstance(network, TakesCondition) else ()


def told(
    network: Callable[..., Array], shape: tuple[int, ...], num_outputs: int
) -> Callable[..., Array]:
    """The network that gives [*shape, num_outputs]; itself if it cannot be told."""
    if isinstance(network, Sized):
        return network.with_outputs(shape, num_outputs)
    if not isinstance(network, Wrapper):
        return network
    inner = told(network.network, shape, num_outputs)
    return network if inner is network.network else replaced(network, network=inner)


def replaced(module: N, **attributes: object) -> N:
    """Copy of a module with other attributes; what it keeps is shared."""
    module = copy.copy(module)
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


class Redraw(Generic[S, L]):
    """Draws a layer, or a whole network, in another size, from the keys of the first draw.

    So a network is the one that it would have been had its size been known at once. Keys are no
    part of its value: any two of these are equal, and `jax.jit` does not tell the networks apart.

    Args:
        layer: (size, rngs) -> layer.
        rngs: as they are just before the layer is drawn.
    """

    def __init__(self, layer: Callable[[S, nnx.Rngs], L], rngs: nnx.Rngs):
        self._layer, self._rngs = layer, nnx.clone(rngs)
        self._drawn: weakref.WeakValueDictionary[int, Array] = weakref.WeakValueDictionary()

    def noted(self, layer: L) -> L:
        """The layer, which may be drawn again for as long as it keeps the weights of its draw."""
        for leaf in jax.tree.leaves(layer):
            self._drawn[id(leaf)] = leaf
        return layer

    def __call__(self, size: S, layer: L) -> L:
        """The layer in another size.

        Raises:
            ValueError: if it has other weights than those of its draw, as in a loss or after
                training: they would be lost.
        """
        again = self._layer(size, nnx.clone(self._rngs))
        if any(self._drawn.get(id(leaf)) is not leaf for leaf in jax.tree.leaves(layer)):
            raise ValueError(
                "A part asked its network for another number of outputs, but the network's "
                "weights are no longer those that it was drawn with, and would be lost. Build "
                "parts, such as Normal(network), when their networks are new, outside of losses "
                "and jitted functions; or give the network as many outputs as the part asks for."
            )
        return self.noted(again)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Redraw)

    def __hash__(self) -> int:
        return hash(Redraw)
