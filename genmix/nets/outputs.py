"""How a part tells its network how many numbers it needs for each entry of its event."""

import copy
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar, runtime_checkable

from flax import nnx
from jaxtyping import Array, PyTree

L = TypeVar("L")
N = TypeVar("N")


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
class Wrapper(Protocol):
    """What changes a network's inputs, such as `Rescale`: it is told through it."""

    network: Callable[..., Array]

    def __call__(self, x: PyTree) -> Array: ...


def out_shape(network: object) -> tuple[int, ...] | None:
    """Shape of the event that a network is of; None if it cannot say so."""
    if isinstance(network, Sized):
        return network.out_shape
    return out_shape(network.network) if isinstance(network, Wrapper) else None


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


class Redraw(Generic[L]):
    """Draws a layer in another size, from the keys of the first draw, which is thrown away.

    So a network is the one that it would have been had its size been known at once. Keys are no
    part of its value: any two of these are equal, and `jax.jit` does not tell the networks apart.

    Args:
        layer: (size, rngs) -> layer.
        rngs: as they are just before the layer is drawn.
    """

    def __init__(self, layer: Callable[[int, nnx.Rngs], L], rngs: nnx.Rngs):
        self._layer, self._rngs = layer, nnx.clone(rngs)

    def __call__(self, size: int) -> L:
        return self._layer(size, nnx.clone(self._rngs))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Redraw)

    def __hash__(self) -> int:
        return hash(Redraw)
