"""Batches of data that do not fit into memory, read in the background while the device computes."""

import concurrent.futures
import contextlib
import dataclasses
import functools
import multiprocessing
import threading
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import PyTree

from genmix import examples

_ENDLESS = 2**62  # blocks: Grain asks for a length, and a stream has no end


@runtime_checkable
class _ReadsMany(Protocol):
    """Source that reads several examples faster together than one by one."""

    def __getitems__(self, indices: list[int]) -> Sequence[PyTree]: ...


class Stream:
    """Shuffled batches of examples that are read as they are needed.

    Every epoch is a new permutation, which uses each example exactly once; a batch may begin in one
    epoch and end in the next. All batches are a function of the seed and of their position alone:
    neither workers nor read-ahead change them, and over all processes together they are the batches
    of one process.
    """

    def __init__(
        self,
        source: Any,
        *,
        batch_size: int,
        seed: int,
        shard: tuple[int, int] = (0, 1),
        num_workers: int = 0,
        prefetch: int = 2,
    ):
        """A stream at its first batch.

        Args:
            source: the examples. An array (in memory or memory-mapped), or a dict or tuple of
                arrays, has them along the first axis. Anything else has `len` and `source[i]`, a
                pytree of arrays for example i, and may have `__getitems__`, for many at once.
            batch_size: examples of each batch, those of all processes together.
            shard: (index, count) of this process, such as (jax.process_index(),
                jax.process_count()). It reads its equal part of every batch, in their order.
            num_workers: processes that read, for sources whose examples take long to decode; with 0
                threads do. A script needs `if __name__ == "__main__":` for them.
            prefetch: blocks read ahead, at least as many as there are workers; 0 reads none.

        Raises:
            ValueError: if an argument is out of its range; the error says which.
            TypeError: if an example holds something else than numbers.
        """
        is_arrays = isinstance(source, np.ndarray | dict | tuple)
        num_examples = _common_length(source) if is_arrays else len(source)
        if not 1 <= batch_size <= num_examples:
            raise ValueError(
                f"batch_size must be between 1 and the number of examples, {num_examples}; "
                f"got {batch_size}."
            )
        index, count = shard
        if not 0 <= index < count or batch_size % count:
            raise ValueError(
                f"shard must be (index, count) with 0 <= index < count, and count must divide "
                f"batch_size, {batch_size}; got {shard}."
            )
        for name, value in (("seed", seed), ("num_workers", num_workers), ("prefetch", prefetch)):
            if value < 0:
                raise ValueError(f"{name} must be at least 0, got {value}.")
        if is_arrays and num_workers:
            raise ValueError(
                "arrays are read by threads, which share their memory; worker processes would copy "
                f"them: num_workers must be 0, got {num_workers}."
            )
        self._source, self._is_arrays = source, is_arrays
        self._order = _Order(seed, num_examples, batch_size)
        self._shard, self._num_workers, self._prefetch = shard, num_workers, prefetch
        self._first_example = _checksum(_read(source, is_arrays, np.zeros((1, 1), np.int64)))
        self._next_batch = 0

    def blocks(self, num_batches: int) -> Generator[PyTree, None, None]:
        """Endless blocks of consecutive batches, from the stream's position on.

        Reading begins at once, before the first block is asked for.

        Returns:
            Iterator over pytrees of arrays `[num_batches, batch_size / processes, ...]`. It ends
            with a RuntimeError if another iterator, or `restore`, has moved the stream meanwhile.

        Raises:
            ValueError: if `num_batches` is less than 1.
        """
        if num_batches < 1:
            raise ValueError(f"num_batches must be at least 1, got {num_batches}.")
        # Grain takes a moment to import, and most programs have their data in memory.
        import grain

        stop = contextlib.ExitStack()
        read: Callable[[np.ndarray], PyTree] = functools.partial(
            _read, self._source, self._is_arrays
        )
        if self._num_workers:
            read = stop.enter_context(_Workers(self._source, self._num_workers)).read
        source: Any = _Blocks(read, self._order, self._shard, self._next_batch, num_batches)
        ahead = max(self._prefetch, self._num_workers)
        reader = iter(
            grain.MapDataset.source(source).to_iter_dataset(
                grain.ReadOptions(num_threads=ahead, prefetch_buffer_size=ahead)
            )
        )
        stop.callback(reader.close)
        reader.start_prefetch()
        return self._hand_out(reader, stop, self._next_batch, num_batches)

    def _hand_out(
        self, reader: Iterator[PyTree], stop: contextlib.ExitStack, first: int, num_batches: int
    ) -> Generator[PyTree, None, None]:
        with stop:
            for block in reader:
                if self._next_batch != first:
                    raise RuntimeError(
                        f"these blocks go on at batch {first}, but the stream has been moved to "
                        f"batch {self._next_batch}: call blocks again."
                    )
                self._next_batch = first = first + num_batches
                yield block

    def position(self) -> dict[str, int]:
        """What `restore` needs to go on after the last block handed out; JSON can hold it.

        Blocks that were read ahead do not count. All processes have the same position, and it may
        be restored with another number of processes, of workers, or of batches in a block.
        """
        return {
            "next_batch": self._next_batch,
            "seed": self._order.seed,
            "batch_size": self._order.batch_size,
            "num_examples": self._order.num_examples,
            "first_example": self._first_example,
            "next_examples": self._order.checksum(self._next_batch),
        }

    def restore(self, position: Any) -> None:
        """Go on where a stream of the same data was: the following batches are bitwise the same.

        Raises:
            ValueError: if the position is damaged, or is one in another stream.
        """
        own = self.position()
        if not isinstance(position, dict) or position.keys() != own.keys():
            raise ValueError(
                f"the position is damaged: expected a dict of {', '.join(own)}; got {position!r}."
            )
        if not all(isinstance(value, int) and value >= 0 for value in position.values()):
            raise ValueError(
                f"the position is damaged: expected whole numbers from 0 on, got {position!r}."
            )
        for name in ("seed", "batch_size", "num_examples"):
            if position[name] != own[name]:
                raise ValueError(
                    f"the position is one in another stream: its {name} is {position[name]}, here "
                    f"it is {own[name]}."
                )
        if position["first_example"] != own["first_example"]:
            raise ValueError(
                "the position is one in another stream: the first example of the data differs."
            )
        if position["next_examples"] != self._order.checksum(position["next_batch"]):
            raise ValueError(
                "the position is damaged, or comes from a version of NumPy that shuffles "
                f"differently: batch {position['next_batch']} has other examples here."
            )
        self._next_batch = position["next_batch"]


class _Order:
    """Which examples make up each batch."""

    def __init__(self, seed: int, num_examples: int, batch_size: int):
        self.seed, self.num_examples, self.batch_size = seed, num_examples, batch_size
        # Two epochs, because a block may begin in one and end in the next; and a lock, lest every
        # thread that reads draws the same large permutation.
        self._permutation = functools.lru_cache(maxsize=2)(self._shuffle)
        self._lock = threading.Lock()

    def indices(self, first: int, num_batches: int) -> np.ndarray:
        """Indices `[num_batches, batch_size]` of the batches from number `first` on."""
        start, stop = first * self.batch_size, (first + num_batches) * self.batch_size
        pieces = []
        while start < stop:
            epoch, place = divmod(start, self.num_examples)
            with self._lock:
                order = self._permutation(epoch)
            pieces.append(order[place : place + stop - start])
            start += len(pieces[-1])
        return np.concatenate(pieces).reshape(num_batches, self.batch_size)

    def checksum(self, batch: int) -> int:
        return zlib.crc32(self.indices(batch, 1).astype("<i8").tobytes())

    def _shuffle(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, epoch]).permutation(self.num_examples)


@dataclasses.dataclass(frozen=True)
class _Blocks:
    """Blocks of batches as Grain reads a source: element i begins `i * num_batches` after `first`.

    A block at a time, because Grain's own way, an example at a time, costs more than many a step.
    """

    read: Callable[[np.ndarray], PyTree]
    order: _Order
    shard: tuple[int, int]
    first: int
    num_batches: int

    def __len__(self) -> int:
        return _ENDLESS

    def __getitem__(self, block: int) -> PyTree:
        index, count = self.shard
        rows = self.order.batch_size // count
        chosen = self.order.indices(self.first + block * self.num_batches, self.num_batches)
        return self.read(chosen[:, index * rows : (index + 1) * rows])


class _Workers:
    """Processes that read, each with its own copy of the source.

    Grain's threads wait for them. Its own worker processes would not do: they take up to 25 seconds
    each to end, or else leave shared memory behind, of which containers have little.
    """

    def __init__(self, source: Any, num_workers: int):
        self._pool = concurrent.futures.ProcessPoolExecutor(
            num_workers,
            mp_context=multiprocessing.get_context("spawn"),  # JAX's threads do not survive a fork
            initializer=_adopt,
            initargs=(source,),
        )

    def __enter__(self) -> "_Workers":
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def read(self, indices: np.ndarray) -> PyTree:
        return self._pool.submit(_read_adopted, indices).result()


def _adopt(source: Any) -> None:
    """Make `source` the one that this worker process reads, so that it is sent only once."""
    global _adopted
    _adopted = source


def _read_adopted(indices: np.ndarray) -> PyTree:
    return _read(_adopted, False, indices)


def _read(source: Any, is_arrays: bool, indices: np.ndarray) -> PyTree:
    """Arrays of shape `[*indices.shape, ...]`."""
    if is_arrays:
        return jax.tree.map(lambda a: np.asarray(np.take(a, indices, axis=0)), source)
    keys = indices.ravel().tolist()
    many = (
        source.__getitems__(keys) if isinstance(source, _ReadsMany) else [source[i] for i in keys]
    )
    try:
        stacked = jax.tree.map(_stack, *many)
    except ValueError as error:
        raise ValueError(
            "the examples of a batch must have one structure and one shape; crop, resize or pad "
            f"them in the source: {error}"
        ) from error
    return jax.tree.map(lambda a: a.reshape(*indices.shape, *a.shape[1:]), stacked)


def _stack(*leaves: Any) -> np.ndarray:
    masked = any(isinstance(leaf, np.ma.MaskedArray) for leaf in leaves)
    stacked = np.ma.stack(leaves) if masked else np.stack(leaves)
    if masked:
        examples.count(stacked, "a batch of the source")  # refuses masked entries
    return np.asarray(stacked)


def _common_length(arrays: PyTree) -> int:
    is_list = lambda node: isinstance(node, list)
    if any(map(is_list, jax.tree.leaves(arrays, is_leaf=is_list))):
        raise TypeError(
            "a dict or tuple as a source must hold NumPy arrays, examples first, but a list is in "
            "it: make one array of its examples with numpy.stack, or a tuple of its arrays."
        )
    leaves = jax.tree.leaves(arrays)
    if not leaves or not all(isinstance(a, np.ndarray) and a.ndim for a in leaves):
        raise TypeError("a dict or tuple as a source must hold NumPy arrays, examples first.")
    return examples.count(arrays, "source")


def _checksum(example: PyTree) -> int:
    """Checksum of an example's types, shapes and values."""
    checksum = 0
    for path, leaf in jax.tree.leaves_with_path(example):
        if leaf.dtype.kind in "OSUMm":
            raise TypeError(
                f"examples must hold numbers, but example 0{jax.tree_util.keystr(path)} is of "
                f"dtype {leaf.dtype}: leave it out, or decode it, in the source."
            )
        header = f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}"
        checksum = zlib.crc32(leaf.tobytes(), zlib.crc32(header.encode(), checksum))
    return checksum
