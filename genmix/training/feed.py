"""Where rounds take their data from: arrays on the device, or blocks of a stream."""

import contextlib
import functools
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from genmix import examples, sharding


@runtime_checkable
class Streams(Protocol):
    """Data that is read while training goes on, such as `genmix.data.stream.Stream`."""

    def blocks(self, num_batches: int) -> Iterator[PyTree]:
        """Arrays [num_batches, batch_size, ...], from the position on."""
        ...

    def position(self) -> PyTree:
        """Of the batch after the last block handed out, as whole numbers."""
        ...

    def restore(self, position: Any) -> None: ...


@runtime_checkable
class TrainingSet(Protocol):
    """Examples that know how a batch of them is made ready, such as `genmix.data.Dataset`."""

    @property
    def train(self) -> PyTree: ...

    @property
    def transform(self) -> Callable[[Any, PyTree], PyTree] | None:
        """(key, batch) -> batch, or None."""
        ...


class InMemory:
    """All examples on every device; batches are gathered there."""

    gives_batches = False

    def __init__(self, arrays: PyTree, batch_size: int):
        self._sizes = {"batch_size": batch_size, "num_examples": examples.count(arrays, "data")}
        self._examples = sharding.replicated(jax.tree.map(jnp.asarray, arrays))

    def take(self, num_rounds: int) -> PyTree:
        del num_rounds
        return self._examples

    def prepare(self, num_rounds: int) -> None:
        """There is nothing to read."""

    def position(self) -> PyTree:
        """What the order of examples depends on; rounds know which of them are next."""
        return self._sizes | {"checksum": self._checksum}

    def restore(self, position: PyTree) -> None:
        """There is nothing to move, but the same rounds must see the same examples.

        Raises:
            ValueError: if the run had other data, or batches of another size.
        """
        for name, value in self._sizes.items():
            if position[name] != value:
                raise ValueError(
                    f"the run to resume has {name} {position[name]}, got {value}: resume it with "
                    "its own data and batch_size, or start a new run in another directory."
                )
        if position["checksum"] != self._checksum:
            raise ValueError(
                "the run to resume was trained on other data of the same size: resume it with its "
                "own, or start a new run in another directory."
            )

    def close(self) -> None:
        """There is nothing open."""

    @functools.cached_property
    def _checksum(self) -> int:
        """Of types, shapes and values; it takes a second for each gigabyte, so only if asked."""
        checksum = 0
        for path, leaf in jax.tree.leaves_with_path(self._examples):
            is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
            array = np.ascontiguousarray(jax.random.key_data(leaf) if is_key else leaf)
            header = f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}"
            checksum = zlib.crc32(array.data.cast("B"), zlib.crc32(header.encode(), checksum))
        return checksum


class Streamed:
    """The batches of the next rounds, the block after them read while the device computes."""

    gives_batches = True

    def __init__(self, stream: Streams, *, batch_size: int, batches_per_round: int):
        self._stream, self._batch_size = stream, batch_size
        self._batches_per_round = batches_per_round
        self._blocks: tuple[int, Iterator[PyTree]] = (0, iter(()))
        self._ahead: tuple[PyTree, PyTree] | None = None  # a block, and the position after it
        self._position = stream.position()

    def take(self, num_rounds: int) -> PyTree:
        """Arrays [rounds * batches a round, batch, ...] on the devices.

        Raises:
            ValueError: if the batches of the stream are not of the plan's size.
        """
        block, self._position = self._ahead or self._read(num_rounds)
        self._ahead = None
        return block

    def prepare(self, num_rounds: int) -> None:
        """Read what the next `take`, of as many rounds, will ask for."""
        self._ahead = self._read(num_rounds)

    def position(self) -> PyTree:
        """After the last block that was taken; one that is prepared does not count."""
        return self._position

    def restore(self, position: PyTree) -> None:
        self.close()
        self._stream.restore(position)
        self._position = position

    def close(self) -> None:
        """Stop reading ahead."""
        _, blocks = self._blocks
        with contextlib.suppress(AttributeError):  # any iterator will do
            blocks.close()  # pyright: ignore[reportAttributeAccessIssue]
        self._blocks, self._ahead = (0, iter(())), None

    def _read(self, num_rounds: int) -> tuple[PyTree, PyTree]:
        num_batches = num_rounds * self._batches_per_round
        size, blocks = self._blocks
        if size != num_batches:
            self.close()
            blocks = self._stream.blocks(num_batches)
            self._blocks = (num_batches, blocks)
        block = sharding.batches_along_data(next(blocks))
        sizes = {a.shape[1] for a in jax.tree.leaves(block)}
        if sizes != {self._batch_size}:
            raise ValueError(
                f"batch_size of the plan is {self._batch_size}, but the stream gives batches of "
                f"{', '.join(map(str, sorted(sizes)))}."
            )
        return block, self._stream.position()
