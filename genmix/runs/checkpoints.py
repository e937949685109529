"""Checkpoints of a run: any pytree, written in the background, restored bit for bit by Orbax.

Orbax stores the arrays under their paths in the tree and makes each checkpoint appear at once, by
a rename. What it does not do is notice a file that was cut short or changed afterwards, so every
checkpoint also carries a seal: the type of each leaf, the score, and the size and checksum of each
file. A checkpoint whose files do not match its seal is never read.
"""

import contextlib
import glob
import json
import logging
import math
import shutil
import tempfile
import warnings
import weakref
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, SupportsFloat

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from genmix.runs import run_directory

_SCALARS = (bool, int, float, complex)
_SEAL = "seal.txt"
_SHOWN = 5  # differing leaves that an error lists


class Checkpoints:
    """The checkpoints of one run: the last few, and the best one by score.

    One process group writes to a directory; others may read it meanwhile. Use it in a `with`
    block, or call `close`: a save that is still under way is finished there.
    """

    def __init__(self, directory: str | Path, *, keep_last: int = 2, keep_best: bool = True):
        """Open a directory, which need not exist before the first save.

        Raises:
            ValueError: if keep_last < 1.
        """
        if keep_last < 1:
            raise ValueError(f"keep_last must be at least 1, got {keep_last}.")
        import orbax.checkpoint as ocp  # takes half a second, so not when genmix is imported

        # Orbax tells of every step it takes; a program that asked for absl's verbosity gets it.
        absl_logger = logging.getLogger("absl")
        if absl_logger.level == logging.NOTSET:
            absl_logger.setLevel(logging.WARNING)
        self._directory = Path(directory).absolute()
        self._alias = _Alias(self._directory)
        self._retention = _Retention(keep_last, keep_best)
        self._damaged: set[int] = set()
        self._unsealed: tuple[int, dict[str, Any]] = (-1, {})
        self._manager = ocp.CheckpointManager(
            self._alias.path,
            options=ocp.CheckpointManagerOptions(
                create=False,  # a reader with a mistyped path leaves no folder behind
                preservation_policy=self._retention,
                async_options=ocp.AsyncOptions(
                    post_finalization_callback=self._seal,
                    # Orbax's writers would wait for folders that could not be made, ten minutes,
                    # and so would the end of the process.
                    create_directories_asynchronously=False,
                ),
            ),
        )
        self._refresh()

    def save(self, step: int, state: PyTree, *, score: SupportsFloat | None = None) -> None:
        """Write the state of a step in the background, and then drop what need not be kept.

        On return the state has been copied, so it may be donated or changed. An error of the
        previous save is raised here at the latest.

        Args:
            state: a pytree of JAX arrays (typed keys too), NumPy arrays and Python numbers.
            score: higher is better; a score that is not finite is never the best.

        Raises:
            ValueError: if step is negative or not after the latest checkpoint, if two leaves have
                the same path, or if there are no numbers in the state.
            TypeError: if a leaf is neither an array of numbers nor a number.
            OSError: if this save, or the previous one, could not be written.
        """
        leaves = _named_leaves(state)
        kinds = {name: _kind(name, leaf) for name, leaf in leaves.items()}
        arrays = {name: _array(leaf) for name, leaf in leaves.items() if np.size(leaf)}
        if not arrays:
            raise ValueError("The state holds no numbers, so there is nothing to save.")
        self.wait()
        latest = self.latest_step()
        if step < 0:
            raise ValueError(f"step must not be negative, got {step}.")
        if latest is not None and step <= latest:
            raise ValueError(
                f"step must be after {latest}, the latest checkpoint in {self._directory}, got "
                f"{step}. To go on from an earlier step, remove the later checkpoints or save to "
                f"another directory."
            )
        with self._telling_what_failed():
            self._clear_away()
        value = math.nan if score is None else float(score)
        self._retention.scores[step] = value if math.isfinite(value) else None
        self._unsealed = (step, {"score": self._retention.scores[step], "leaves": kinds})
        from orbax.checkpoint import args

        with self._telling_what_failed():
            # Orbax forces out a step that its own schedule, which is not used here, would skip.
            self._manager.save(step, args=args.Composite(state=args.PyTreeSave(arrays)), force=True)

    def restore(self, like: PyTree, step: int | None = None) -> tuple[int, PyTree]:
        """The latest state, or the one of a step, in the structure and placement of `like`.

        A damaged latest checkpoint is passed over for the one before it, with a warning; the next
        save deletes it. A step that was asked for is never replaced by another.

        Args:
            like: a state of the program, of which only types, shapes and shardings are used.

        Raises:
            FileNotFoundError: if there is no checkpoint, or none of the step.
            ValueError: if every checkpoint (or the one asked for) is damaged, or the state in it
                has other leaves, shapes or dtypes than `like`.
        """
        self._refresh()
        available = sorted(self._manager.all_steps())
        candidates = available[::-1] if step is None else [step]
        if not candidates or candidates[0] not in available:
            wanted = "checkpoint" if step is None else f"checkpoint of step {step}"
            raise FileNotFoundError(
                f"There is no {wanted} in {self._directory}; steps there: {available}."
            )
        found, damage = self._first_intact(candidates, like)
        if found is None:
            raise ValueError(
                f"No usable checkpoint in {self._directory}, for it is damaged ({damage}). Restore "
                f"another step, or start anew in another directory."
            )
        return found

    def restore_best(self, like: PyTree) -> tuple[int, PyTree]:
        """The state with the highest score, of the earliest step among equals; see `restore`.

        A damaged one is passed over for the next best, with a warning.

        Raises:
            FileNotFoundError: if no checkpoint that is intact has a finite score.
        """
        self._refresh()
        found, damage = self._first_intact(self._retention.ranked(self._steps()), like)
        if found is None:
            scored = f"with a finite score is intact ({damage})" if damage else "has a finite score"
            raise FileNotFoundError(
                f"No checkpoint in {self._directory} {scored}; steps there: {self._steps()}. "
                f"Restore the latest one, or save with a score."
            )
        return found

    def latest_step(self) -> int | None:
        """The last step saved (it may still be being written), or None."""
        return max(self._steps(), default=None)

    def best_step(self) -> int | None:
        """The step with the highest score among those kept, or None if none has a score."""
        return next(iter(self._retention.ranked(self._steps())), None)

    def score(self, step: int) -> float:
        """The score that a checkpoint was saved with; NaN if it has none that is finite."""
        score = self._retention.scores.get(step)
        return math.nan if score is None else score

    def wait(self) -> None:
        """Wait until the save under way is on the disk; an OSError tells if it failed."""
        with self._telling_what_failed():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Finish the save under way, as `wait` does, and release Orbax's threads."""
        try:
            self.wait()
        finally:
            self._manager.close()
            self._alias.remove()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _steps(self) -> list[int]:
        return sorted(set(self._manager.all_steps()) - self._damaged)

    def _refresh(self) -> None:
        """Look at the directory again, for another process may write there."""
        self.wait()
        self._manager.reload()
        for step in self._steps():
            try:
                seal = _read_seal(self._directory / str(step), check_files=False)
            except (OSError, ValueError):
                continue  # damaged: it has no score, and `restore` says what is wrong with it
            self._retention.scores[step] = seal["score"]

    @contextlib.contextmanager
    def _telling_what_failed(self) -> Iterator[None]:
        """Turn what Orbax raises where a disk is full, such as a ValueError, into an OSError."""
        try:
            yield
        except Exception as error:
            reason = self._alias.undone(" ".join(str(error).split()))
            raise OSError(
                f"A checkpoint could not be written to {self._directory}: {reason}. Those before "
                f"it are kept; mend this, and --resume goes on from the latest of them."
            ) from error

    def _first_intact(
        self, candidates: Sequence[int], like: PyTree
    ) -> tuple[tuple[int, PyTree] | None, str]:
        """Step and state of the first candidate that is not damaged, and what others have."""
        problems: dict[int, str] = {}
        for candidate in candidates:
            try:
                record = _read_seal(self._directory / str(candidate), check_files=True)
            except (OSError, ValueError) as error:
                problems[candidate] = f"step {candidate}: {error}"
                continue
            state = self._read(candidate, record["leaves"], like)
            damage = "; ".join(problems.values())
            if problems:
                self._damaged |= set(problems)
                warnings.warn(
                    f"Falling back on the checkpoint of step {candidate}, for others in "
                    f"{self._directory} are damaged ({damage}). The next save deletes them.",
                    stacklevel=3,
                )
            return (candidate, state), damage
        return None, "; ".join(problems.values())

    def _clear_away(self) -> None:
        """Delete damaged checkpoints, and what a killed process or an error left half written."""
        for step in sorted(self._damaged):
            self._manager.delete(step)
        self._damaged.clear()
        if jax.process_index() == 0:
            self._directory.mkdir(parents=True, exist_ok=True)
            for leftover in self._directory.glob(f"*{_unfinished_suffix()}"):
                shutil.rmtree(leftover)

    def _seal(self) -> None:
        """Write the seal; Orbax calls this in its thread, just before it renames the folder."""
        step, record = self._unsealed
        folder = self._directory / f"{step}{_unfinished_suffix()}"
        if jax.process_index() == 0:
            text = json.dumps(record | {"files": _fingerprints(folder)}, allow_nan=False)
            (folder / _SEAL).write_text(f"{zlib.crc32(text.encode()):08x}\n{text}")

    def _read(self, step: int, stored: dict[str, str], like: PyTree) -> PyTree:
        import orbax.checkpoint as ocp

        leaves = _named_leaves(like)
        expected = {name: _kind(name, leaf) for name, leaf in leaves.items()}
        if stored != expected:
            raise ValueError(_mismatch(step, self._directory, stored, expected))
        restore_args = {n: _restore_args(leaf) for n, leaf in leaves.items() if np.size(leaf)}
        # Orbax wants a tree of the stored structure; what the leaves are is said by restore_args.
        item = ocp.args.PyTreeRestore(dict.fromkeys(restore_args, 0), restore_args=restore_args)
        restored = self._manager.restore(step, args=ocp.args.Composite(state=item))
        placed = [_as_like(restored["state"].get(name), leaf) for name, leaf in leaves.items()]
        return jax.tree.unflatten(jax.tree.structure(like), placed)


class _Alias:
    """A path of a directory that Orbax and TensorStore take literally.

    Orbax looks for what it has written by patterns, to which brackets are not letters, and to
    TensorStore a backslash parts folders: either would lose the arrays without a word. There a
    symbolic link in a temporary folder stands for the directory.
    """

    def __init__(self, directory: Path):
        self.path, self._directory = directory, directory
        self.remove: Callable[[], object] = lambda: None
        if _is_taken_literally(directory):
            return
        place = Path(tempfile.gettempdir()).absolute()
        if not _is_taken_literally(place):
            raise OSError(
                f"Checkpoints in {directory} need a temporary folder without brackets and "
                f"backslashes in its name, got {place}: set TMPDIR to another."
            )
        folder = Path(tempfile.mkdtemp(prefix="genmix-", dir=place))
        # What the link leads to stays; called at the latest when nothing refers to this any more.
        self.remove = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.path = folder / "checkpoints"
        self.path.symlink_to(directory, target_is_directory=True)  # which need not exist yet

    def undone(self, text: str) -> str:
        """A message of Orbax, with the directory that the user knows."""
        return text.replace(str(self.path), str(self._directory))


def _is_taken_literally(directory: Path) -> bool:
    path = directory.as_posix()  # the separators of Windows are none of its names
    return "\\" not in path and glob.escape(path) == path


class _Retention:
    """Orbax's preservation policy: the last few checkpoints, and the best one by score."""

    def __init__(self, keep_last: int, keep_best: bool):
        self.keep_last = keep_last
        self.keep_best = keep_best
        self.scores: dict[int, float | None] = {}  # finite, or None

    def ranked(self, steps: Sequence[int]) -> list[int]:
        """The steps that have a score, the best first, the earliest of equals first."""
        scores = {step: self.scores.get(step) for step in steps}
        scored = [(-score, step) for step, score in scores.items() if score is not None]
        return [step for _, step in sorted(scored)]

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        del context
        steps = [checkpoint.step for checkpoint in checkpoints]
        best = self.ranked(steps)[:1] if self.keep_best else []
        kept = {*steps[-self.keep_last :], *best}
        return [step in kept for step in steps]


def _unfinished_suffix() -> str:
    from orbax.checkpoint import path

    return path.atomicity_types.TMP_DIR_SUFFIX


def _fingerprints(folder: Path) -> dict[str, list[int]]:
    """Size and CRC-32 of each file that holds arrays, by its path in the folder."""
    files = sorted(path for path in (folder / "state").rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): [path.stat().st_size, _checksum(path)]
        for path in files
    }


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while block := file.read(1 << 24):
            value = zlib.crc32(block, value)
    return value


def _read_seal(folder: Path, *, check_files: bool) -> dict[str, Any]:
    """What the seal says; a ValueError or OSError says what is damaged."""
    checksum, _, text = run_directory.read_bytes(folder / _SEAL).decode().partition("\n")
    if checksum != f"{zlib.crc32(text.encode()):08x}":
        raise ValueError(f"{_SEAL} does not match its checksum")
    record = json.loads(text)
    if not _is_record(record):
        raise ValueError(f"{_SEAL} does not hold leaves, files and a score")
    if check_files:
        found = _fingerprints(folder)
        for name, fingerprint in record["files"].items():
            if name not in found:
                raise ValueError(f"{name} is missing")
            if found[name] != fingerprint:
                raise ValueError(f"{name} has been cut short or changed")
    return record


def _is_record(record: Any) -> bool:
    """Whether a seal has the fields that `Checkpoints` gave it, whoever wrote it."""
    return (
        isinstance(record, dict)
        and all(isinstance(record.get(field), dict) for field in ("leaves", "files"))
        and isinstance(record.get("score", ""), int | float | None)
    )


def _named_leaves(tree: PyTree) -> dict[str, Any]:
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    named = {jax.tree_util.keystr(path): leaf for path, leaf in paths}
    if len(named) < len(paths):
        raise ValueError("Two leaves of the state have the same path, so one would be lost.")
    return named


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _kind(name: str, leaf: Any) -> str:
    """What must be equal for a leaf to be restored: "float32[3,4]", "key<fry>[]", "int"."""
    if type(leaf) in _SCALARS and np.asarray(leaf).dtype != object:  # object: a huge integer
        return type(leaf).__name__
    if not isinstance(leaf, jax.Array | np.ndarray | np.generic) or not (
        _is_key(leaf) or leaf.dtype == bool or jnp.issubdtype(leaf.dtype, np.number)
    ):
        raise TypeError(
            f"A checkpoint holds arrays of numbers, typed keys and Python numbers, but the "
            f"state's leaf {name} is of type {type(leaf).__name__}; mark it as static, or leave "
            f"it out of the state."
        )
    return f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"


def _mismatch(step: int, directory: Path, stored: dict[str, str], expected: dict[str, str]) -> str:
    names = [n for n in {**stored, **expected} if stored.get(n) != expected.get(n)]
    lines = [
        f"  {name}: the checkpoint has {stored.get(name, 'no such leaf')}, "
        f"the program expects {expected.get(name, 'no such leaf')}"
        for name in names[:_SHOWN]
    ]
    return "\n".join(
        [
            f"The checkpoint of step {step} in {directory} is not of this program's state; "
            f"{len(names)} leaves differ, the first of them:",
            *lines,
            "Restore it with the configuration that it was saved with, or start anew in another "
            "directory.",
        ]
    )


def _array(leaf: Any) -> jax.Array | np.ndarray:
    """A leaf as what Orbax stores: keys as their data, numbers as arrays without dimensions."""
    if not isinstance(leaf, jax.Array):
        return np.asarray(leaf)
    array = jax.random.key_data(leaf) if _is_key(leaf) else leaf
    # Of several hosts each has its own copy of such an array; Orbax takes only NumPy's from one.
    is_copy = jax.process_count() > 1 and array.is_fully_addressable
    return np.asarray(array) if is_copy else array


def _restore_args(leaf: Any) -> Any:
    """Orbax's order for a leaf: this host's part where hosts share an array, else all of it."""
    import orbax.checkpoint as ocp

    if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
        return ocp.RestoreArgs(restore_type=np.ndarray)
    # Keys are stored as their data, whose one more axis is last, so that their sharding fits it.
    return ocp.ArrayRestoreArgs(sharding=leaf.sharding)


def _as_like(value: Any, like: Any) -> Any:
    """What Orbax restored (None: an array without elements) as a leaf of the type of `like`."""
    if isinstance(like, np.ndarray):
        return np.zeros_like(like) if value is None else value
    if not isinstance(like, jax.Array):
        return type(like)(value.item())
    if value is None:
        value = jnp.zeros_like(like)
    elif _is_key(like):
        value = jax.random.wrap_key_data(jnp.asarray(value), impl=jax.random.key_impl(like))
    elif like.weak_type:
        value = jnp.zeros_like(like).at[...].set(value)  # else bfloat16 would be promoted by it
    elif not like.committed:
        value = jnp.array(value)  # a copy that JAX owns, on the default device
    # An array that was free to move stays free; it could not meet those of a mesh otherwise.
    return jax.device_put(value, like.sharding) if like.committed else value
