import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from genmix.runs.checkpoints import Checkpoints


class Net(nnx.Module):
    """A module with parameters, batch statistics and a generator of random bits."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.layers = nnx.List([nnx.Linear(3, 4, rngs=rngs), nnx.Linear(4, 4, rngs=rngs)])
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.dropout(self.norm(x))


class Carry(NamedTuple):
    chains: jax.Array
    empty: tuple
    nothing: None


def net_state(seed: int) -> dict:
    """What a training loop has: module, optimizer state, carry, keys, counters."""
    net = Net(rngs=nnx.Rngs(seed))
    net(jnp.full((2, 3), float(seed)))  # moves the batch statistics and the dropout key
    optimizer = optax.chain(optax.clip(1.0), optax.adam(1e-3))
    key, other = jax.random.split(jax.random.key(seed))
    return {
        "net": net,
        "optimizer": optimizer.init(nnx.state(net, nnx.Param)),
        "carry": Carry(jnp.full((2, 2), seed, jnp.int32), (), None),
        "keys": (key, jax.random.split(other, 3), jax.random.key(seed, impl="rbg")),
        "position": seed,
        "lr": 0.1 * seed,
        "done": seed == 1,
    }


def small(value: float) -> dict:
    return {"a": {"w": jnp.full((2, 3), float(value))}, "b": np.arange(3) + int(value)}


def bits(leaf) -> tuple:
    """Everything that makes a leaf what it is, its bits included (so that NaN equals itself)."""
    array = leaf
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        array = jax.random.key_data(leaf)
    array = np.asarray(array)
    form = (getattr(leaf, "dtype", None), getattr(leaf, "weak_type", None), array.shape)
    return type(leaf), *form, array.tobytes()


def blank(leaf):
    """Another leaf of the same type."""
    if isinstance(leaf, jax.Array):
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return leaf if is_key else jnp.zeros_like(leaf)
    return np.zeros_like(leaf) if isinstance(leaf, np.ndarray) else type(leaf)(0)


def assert_same(got, expected):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    expected_leaves = jax.tree_util.tree_leaves_with_path(expected)
    for leaf, (path, other) in zip(jax.tree.leaves(got), expected_leaves, strict=True):
        assert bits(leaf) == bits(other), jax.tree_util.keystr(path)


def saved(directory: Path, steps=(1, 2, 3), **options) -> Path:
    with Checkpoints(directory, **options) as checkpoints:
        for step in steps:
            checkpoints.save(step, small(step))
    return directory


def step_folders(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_training_state_comes_back_bit_for_bit(tmp_path):
    state, like = net_state(1), net_state(2)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(5, state)
        step, restored = checkpoints.restore(like)
    assert step == 5
    assert_same(restored, state)
    assert restored["net"] is not like["net"]
    np.testing.assert_array_equal(like["carry"].chains, 2)  # like is not touched
    x = jnp.ones((2, 3))
    np.testing.assert_array_equal(restored["net"](x), state["net"](x))  # draws the same dropout
    np.testing.assert_array_equal(
        jax.random.normal(restored["keys"][2], (3,)), jax.random.normal(state["keys"][2], (3,))
    )


@pytest.mark.parametrize("name", ["run[1]", r"C:\runs\[a]/[c]", "a*?{b}/%#'\" ä"])
def test_a_folder_of_any_name_keeps_its_checkpoints(tmp_path, name, monkeypatch):
    """Brackets are a pattern to Orbax, a backslash parts folders for TensorStore."""
    links = tmp_path / "links"
    links.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(links))
    folder = tmp_path / name
    with Checkpoints(folder, keep_last=1) as checkpoints:
        assert checkpoints.latest_step() is None
        assert not folder.exists()
        for step in (1, 2, 3):
            checkpoints.save(step, small(step), score=-step)
    assert step_folders(folder) == ["1", "3"]
    copy = saved(tmp_path / "plain", steps=(3,)) / "3"
    files = lambda place: sorted(path.relative_to(place).parts[0] for path in place.rglob("*"))
    assert files(folder / "3") == files(copy)
    monkeypatch.chdir(folder.parent)
    with Checkpoints(folder.name) as checkpoints:
        step, state = checkpoints.restore(small(0))
        assert step == 3
        assert_same(state, small(3))
        assert checkpoints.restore_best(small(0))[0] == 1
    assert list(links.iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {"links", "plain", Path(name).parts[0]}


def test_an_error_in_such_a_folder_names_it(tmp_path, monkeypatch):
    folder = tmp_path / "run[1]"
    with Checkpoints(folder) as checkpoints:
        monkeypatch.setattr(checkpoints, "_seal", None)
        monkeypatch.setattr(checkpoints._manager, "save", lambda *a, **b: (folder / "no").stat())
        with pytest.raises(
            OSError, match=rf"to {re.escape(str(folder))}: .*'{tmp_path}/run\[1\]/no"
        ):
            checkpoints.save(1, small(1))
    monkeypatch.setattr(tempfile, "tempdir", str(saved(tmp_path / "[0]", steps=(1,))))
    with pytest.raises(OSError, match=r"need a temporary folder without brackets .* set TMPDIR"):
        Checkpoints(folder)


def test_every_kind_of_leaf_comes_back_bit_for_bit(tmp_path):
    nan = np.array([0x7FC00001, 0xFF800000, 0x80000000, 1], np.uint32).view(np.float32)
    state = {
        "bfloat16": jnp.asarray([1.5, -2.0], jnp.bfloat16),
        "float16": jnp.asarray(0.1, jnp.float16),
        "float32": jnp.asarray(nan),
        "uint32": jnp.asarray([2**32 - 1], jnp.uint32),
        "int32": jnp.asarray([[-(2**31)]], jnp.int32),
        "int8": jnp.asarray(-128, jnp.int8),
        "bool": jnp.asarray([True, False]),
        "complex": jnp.asarray([1 + 2j]),
        "weak": jnp.asarray(3.0),
        "empty": jnp.zeros((0, 3), jnp.bfloat16),
        "no keys": jax.random.split(jax.random.key(0), 0),
        "numpy": np.array([[0.1], [np.nan]]),
        "numpy int64": np.array(2**60),
        "numpy empty": np.zeros((2, 0), np.int16),
        "numpy scalar": np.float32(0.1),
        "numpy bfloat16": np.full(2, 1.5, jnp.bfloat16),
        "numpy bfloat16 scalar": np.dtype(jnp.bfloat16).type(1.5),
        "float": 0.1,
        "int": 2**62,
        "bool scalar": True,
        "complex scalar": 1j,
        "a/b": {"c.d": np.int8(1)},
        "a": {"b/c.d": np.int8(2), "['x']": [(), None, jnp.int32(3)]},
    }
    assert state["weak"].weak_type
    like = jax.tree.map(blank, state)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(0, state)
        _, restored = checkpoints.restore(like)
    assert_same(restored, state)
    restored["numpy"][0] = 7.0  # writable, and no one else's
    assert state["numpy"][0] == 0.1


def test_double_precision(tmp_path, x64):
    state = {"x": jnp.asarray([0.1, 1 / 3]), "n": jnp.asarray(2**40)}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(0, state)
        assert_same(checkpoints.restore(jax.tree.map(jnp.zeros_like, state))[1], state)


def test_the_saved_state_may_be_donated_and_changed_at_once(tmp_path):
    state = {"x": jax.random.normal(jax.random.key(0), (1000, 1000)), "n": np.arange(100_000)}
    expected = jax.tree.map(np.array, state)
    overwrite = jax.jit(lambda x: x * 0.0, donate_argnums=0)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
        overwrite(state["x"]).block_until_ready()
        state["n"][:] = -1
        _, restored = checkpoints.restore({"x": jnp.zeros((1000, 1000)), "n": np.arange(100_000)})
    np.testing.assert_array_equal(restored["x"], expected["x"])
    np.testing.assert_array_equal(restored["n"], expected["n"])


def test_restored_arrays_can_be_donated(tmp_path):
    mesh = Mesh(np.array(jax.devices()[:1]), ("data",))
    placed = jax.device_put(jnp.ones((8, 4)), NamedSharding(mesh, PartitionSpec("data")))
    keys = jax.device_put(jax.random.split(jax.random.key(1), 2), placed.sharding)
    state = {"free": jnp.arange(64.0), "placed": placed, "keys": keys}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
        _, restored = checkpoints.restore(state)
    for name, leaf in state.items():
        assert restored[name].sharding == leaf.sharding, name
        assert restored[name].committed == leaf.committed, name
    step = jax.jit(
        lambda s: s | {"free": s["free"] + 1, "placed": s["placed"] * 2}, donate_argnums=0
    )
    after = step(restored)
    assert restored["free"].is_deleted()
    assert restored["placed"].is_deleted()
    np.testing.assert_array_equal(after["free"], np.arange(64.0) + 1)


def test_the_last_few_are_kept(tmp_path):
    saved(tmp_path, steps=(1, 2, 3, 4, 5), keep_last=3)
    assert step_folders(tmp_path) == ["3", "4", "5"]


def test_the_best_is_kept_as_well(tmp_path):
    scores = {1: -3.0, 2: float("nan"), 3: 5.0, 4: float("inf"), 5: None, 6: 4.0, 7: 1.0, 8: None}
    with Checkpoints(tmp_path, keep_last=2) as checkpoints:
        assert checkpoints.best_step() is None
        for step, score in scores.items():
            checkpoints.save(step, small(step), score=score)
        assert checkpoints.latest_step() == 8
        assert checkpoints.best_step() == 3
        step, state = checkpoints.restore_best(small(0))
        assert step == 3
        assert_same(state, small(3))
    assert step_folders(tmp_path) == ["3", "7", "8"]
    with Checkpoints(tmp_path, keep_last=2) as checkpoints:  # scores are on the disk too
        assert checkpoints.best_step() == 3
        assert np.isnan(checkpoints.score(8))
        checkpoints.save(9, small(9), score=np.float32(6.0))
        for step in (10, 11):
            checkpoints.save(step, small(step), score=jnp.asarray(6.0))
        assert checkpoints.best_step() == 9  # the earliest of equals
    assert step_folders(tmp_path) == ["10", "11", "9"]


def test_the_best_is_not_kept_on_request(tmp_path):
    with Checkpoints(tmp_path, keep_last=1, keep_best=False) as checkpoints:
        for step, score in enumerate([3.0, 2.0, 1.0]):
            checkpoints.save(step, small(step), score=score)
    assert step_folders(tmp_path) == ["2"]


def test_without_finite_scores_there_is_no_best(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, small(1), score=float("nan"))
        assert checkpoints.best_step() is None
        with pytest.raises(FileNotFoundError, match=r"has a finite score; steps there: \[1\]"):
            checkpoints.restore_best(small(0))


def test_without_checkpoints(tmp_path):
    path = tmp_path / "mistyped"
    with Checkpoints(path) as checkpoints:
        assert checkpoints.latest_step() is None
        with pytest.raises(FileNotFoundError, match=r"There is no checkpoint in .*mistyped"):
            checkpoints.restore(small(0))
    assert not path.exists()


def test_a_step_may_be_asked_for(tmp_path):
    with Checkpoints(saved(tmp_path)) as checkpoints:
        step, state = checkpoints.restore(small(0), step=2)
        assert step == 2
        assert_same(state, small(2))
        text = r"no checkpoint of step 7 in .*; steps there: \[2, 3\]"
        with pytest.raises(FileNotFoundError, match=text):
            checkpoints.restore(small(0), step=7)


def test_steps_must_rise(tmp_path):
    with Checkpoints(saved(tmp_path)) as checkpoints:
        for step in (2, 3):
            with pytest.raises(ValueError, match=f"step must be after 3, .* got {step}. To go on"):
                checkpoints.save(step, small(step))
        with pytest.raises(ValueError, match="step must not be negative, got -1"):
            checkpoints.save(-1, small(1))
    assert step_folders(tmp_path) == ["2", "3"]


def test_keep_last_must_be_positive(tmp_path):
    with pytest.raises(ValueError, match="keep_last must be at least 1, got 0"):
        Checkpoints(tmp_path, keep_last=0)


@pytest.mark.parametrize(
    ("leaf", "kind"), [("text", "str"), (2**70, "int"), (np.array(["x"]), "ndarray")]
)
def test_what_is_not_a_number_is_refused_by_name(tmp_path, leaf, kind):
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(TypeError, match=rf"leaf \['a'\]\[1\] is of type {kind}; mark it"):
            checkpoints.save(1, {"a": [jnp.ones(2), leaf]})
    assert step_folders(tmp_path) == []


@jax.tree_util.register_pytree_with_keys_class
class Ambiguous:
    def tree_flatten_with_keys(self):
        key = jax.tree_util.GetAttrKey("x")
        return ((key, 1), (key, 2)), None

    @classmethod
    def tree_unflatten(cls, aux, children):
        return cls()


def test_leaves_of_one_name_are_refused(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(ValueError, match="Two leaves of the state have the same path"):
            checkpoints.save(1, Ambiguous())


@pytest.mark.parametrize(
    ("like", "lines"),
    [
        (
            {"a": {"w": jnp.zeros((2, 4))}, "b": np.arange(3)},
            ["['a']['w']: the checkpoint has float32[2,3], the program expects float32[2,4]"],
        ),
        (
            {"a": {"w": jnp.zeros((2, 3), jnp.bfloat16)}, "b": np.arange(3)},
            ["['a']['w']: the checkpoint has float32[2,3], the program expects bfloat16[2,3]"],
        ),
        (
            {"a": {"v": jnp.zeros((2, 3))}, "b": 1},
            [
                "['a']['w']: the checkpoint has float32[2,3], the program expects no such leaf",
                "['b']: the checkpoint has int64[3], the program expects int",
                "['a']['v']: the checkpoint has no such leaf, the program expects float32[2,3]",
            ],
        ),
        (
            {"a": {"w": jax.random.key(0)}, "b": np.arange(3)},
            ["['a']['w']: the checkpoint has float32[2,3], the program expects key<fry>[]"],
        ),
    ],
)
def test_another_structure_shape_or_dtype_is_refused(tmp_path, like, lines):
    with Checkpoints(saved(tmp_path)) as checkpoints:
        with pytest.raises(ValueError, match="is not of this program's state") as error:
            checkpoints.restore(like)
    first, *body, last = str(error.value).splitlines()
    assert first.startswith(f"The checkpoint of step 3 in {tmp_path}")
    assert f"{len(lines)} leaves differ" in first
    assert body == [f"  {line}" for line in lines]
    assert "Restore it with the configuration that it was saved with" in last


def test_only_the_first_differing_leaves_are_listed(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, [jnp.zeros(2)] * 20)
        with pytest.raises(ValueError, match="20 leaves differ") as error:
            checkpoints.restore([jnp.zeros(3)] * 20)
    assert len(str(error.value).splitlines()) == 7


def test_another_generator_of_keys_is_refused(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"key": jax.random.key(0)})
        with pytest.raises(ValueError, match=r"has key<fry>\[\], the program expects key<rbg>\[\]"):
            checkpoints.restore({"key": jax.random.key(0, impl="rbg")})


@pytest.mark.parametrize("state", [{}, {"a": jnp.zeros(0), "b": None}])
def test_a_state_without_numbers_is_refused(tmp_path, state):
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(ValueError, match="The state holds no numbers"):
            checkpoints.save(1, state)


def delete(path: Path):
    path.unlink()


def halve(path: Path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [delete, halve, flip])
def test_damage_to_any_file_is_seen_and_passed_over(tmp_path, damage, capfd):
    folder = saved(tmp_path / "run") / "3"
    files = [path for path in (folder / "state").rglob("*") if path.is_file()]
    assert len(files) > 4
    copy = tmp_path / "copy"
    for file in [*files, folder / "seal.txt"]:
        shutil.copytree(tmp_path / "run", copy)
        damage(copy / file.relative_to(tmp_path / "run"))
        with Checkpoints(copy) as checkpoints:
            with pytest.warns(UserWarning, match="Falling back on the checkpoint of step 2") as w:
                step, state = checkpoints.restore(small(0))
        assert step == 2
        assert_same(state, small(2))
        assert "step 3: " in str(w[0].message)
        assert file.name in str(w[0].message)
        shutil.rmtree(copy)
    assert capfd.readouterr().err == ""


def test_a_folder_that_is_no_checkpoint_is_passed_over(tmp_path):
    (saved(tmp_path) / "4").mkdir()
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.warns(UserWarning, match=r"step 4: .*seal.txt"):
            step, _ = checkpoints.restore(small(0))
    assert step == 3


def test_a_run_goes_on_after_a_damaged_checkpoint(tmp_path):
    halve(saved(tmp_path) / "3" / "seal.txt")
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.warns(UserWarning, match=r"are damaged \(step 3: .*The next save deletes them"):
            checkpoints.restore(small(0))
        assert checkpoints.latest_step() == 2
        assert step_folders(tmp_path) == ["2", "3"]  # reading deletes nothing
        checkpoints.save(3, small(30))
        step, state = checkpoints.restore(small(0))
        assert step == 3
        assert_same(state, small(30))
    assert step_folders(tmp_path) == ["2", "3"]


def test_a_damaged_step_that_was_asked_for_is_not_replaced(tmp_path):
    halve(saved(tmp_path) / "2" / "seal.txt")
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(ValueError, match=r"No usable checkpoint .*step 2: .*Restore another"):
            checkpoints.restore(small(0), step=2)
        assert checkpoints.restore(small(0))[0] == 3


def test_a_damaged_best_is_passed_over_for_the_next_best(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        for step, score in ((1, 3.0), (2, 1.0), (3, 2.0), (4, None)):
            checkpoints.save(step, small(step), score=score)
    delete(next((tmp_path / "1" / "state" / "d").iterdir()))
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.warns(UserWarning, match=r"of step 3, .* \(step 1: state/d/\w+ is missing\)"):
            step, state = checkpoints.restore_best(small(0))
        assert step == checkpoints.best_step() == 3
        assert_same(state, small(3))
    halve(tmp_path / "3" / "seal.txt")
    with Checkpoints(tmp_path) as checkpoints:
        text = r"with a finite score is intact \(step 1: .*; steps there: \[1, 3, 4\]"
        with pytest.raises(FileNotFoundError, match=text):
            checkpoints.restore_best(small(0))


def test_if_all_are_damaged_nothing_is_deleted(tmp_path):
    saved(tmp_path)
    for step in (2, 3):
        flip(tmp_path / str(step) / "seal.txt")
    with Checkpoints(tmp_path) as checkpoints:
        text = r"No usable checkpoint in .*step 3: seal.txt does not match .*step 2: seal.txt"
        with pytest.raises(ValueError, match=text):
            checkpoints.restore(small(0))
    assert step_folders(tmp_path) == ["2", "3"]


class Held(Checkpoints):
    """A save that stops just before it becomes a checkpoint, until it is let go."""

    def __init__(self, directory):
        self.reached, self.go = threading.Event(), threading.Event()
        super().__init__(directory)

    def _seal(self):
        super()._seal()
        self.reached.set()
        assert self.go.wait(30)


def test_a_kill_during_a_save_leaves_the_one_before(tmp_path, capfd):
    run, killed = saved(tmp_path / "run", steps=(1,)), tmp_path / "killed"
    checkpoints = Held(run)
    with checkpoints:
        checkpoints.save(2, small(2))  # returns, although nothing is finished
        assert checkpoints.reached.wait(30)
        shutil.copytree(run, killed)  # what is on the disk if the process dies here
        checkpoints.go.set()
        checkpoints.wait()
        assert checkpoints.restore(small(0))[0] == 2
    with Checkpoints(killed) as checkpoints:
        assert checkpoints.latest_step() == 1
        step, state = checkpoints.restore(small(0))
        assert step == 1
        assert_same(state, small(1))
        assert len(step_folders(killed)) == 2  # reading deletes nothing
        checkpoints.save(3, small(3))
        assert checkpoints.restore(small(0))[0] == 3
    assert step_folders(killed) == ["1", "3"]
    assert capfd.readouterr().err == ""


class Full(Checkpoints):
    """On a disk that has no space for step 3 but then gets some."""

    errors = 1

    def _seal(self):
        if self._unsealed[0] == 3 and self.errors:
            self.errors -= 1
            raise OSError("no space left")
        super()._seal()


def test_an_error_of_a_save_is_raised_and_the_one_before_stays(tmp_path, caplog):
    saved(tmp_path, steps=(1, 2))
    with Full(tmp_path) as checkpoints:
        checkpoints.save(3, small(3), score=1.0)
        text = rf"could not be written to {tmp_path}: no space left\. .* --resume"
        with pytest.raises(OSError, match=text):
            checkpoints.wait()
        assert checkpoints.latest_step() == 2
        assert checkpoints.best_step() is None
        assert checkpoints.restore(small(0))[0] == 2
        assert {"1", "2"} <= set(step_folders(tmp_path))
        caplog.clear()
        checkpoints.save(3, small(3))  # the score of the save that failed is forgotten
        checkpoints.wait()
        assert checkpoints.latest_step() == 3
        assert checkpoints.best_step() is None
    assert step_folders(tmp_path) == ["2", "3"]
    assert caplog.records == []


@pytest.mark.parametrize("folder", ["2.orbax-checkpoint-tmp", "state.orbax-checkpoint-tmp"])
def test_a_folder_that_cannot_be_made_leaves_no_thread_behind(tmp_path, monkeypatch, folder):
    """Threads that wait for the folder would keep the process from ending for many minutes."""
    saved(tmp_path, steps=(1,))
    mkdir = os.mkdir

    def full(path, *arguments, **options):
        if Path(path).name == folder:
            raise OSError(28, "No space left on device", str(path))
        mkdir(path, *arguments, **options)

    monkeypatch.setattr(os, "mkdir", full)
    before = set(threading.enumerate())
    checkpoints = Checkpoints(tmp_path)

    def save():
        checkpoints.save(2, small(2))
        checkpoints.wait()

    with pytest.raises(OSError, match=r"could not be written to .* No space left on device"):
        save()
    checkpoints.close()
    left = [t.name for t in threading.enumerate() if t not in before and not t.daemon]
    # Idle workers of an event loop's pool end with the process, at once.
    assert [name for name in left if not name.startswith("asyncio_")] == []
    with Checkpoints(tmp_path) as reader:
        assert reader.restore(small(0))[0] == 1


def test_closing_raises_the_error_of_the_last_save(tmp_path):
    with pytest.raises(OSError, match="no space left"), Full(tmp_path) as checkpoints:
        checkpoints.save(3, small(3))


def test_an_error_before_the_background_is_told_in_the_same_way(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError("no space left")

    with Checkpoints(tmp_path) as checkpoints:
        monkeypatch.setattr(checkpoints._manager, "save", full)
        with pytest.raises(OSError, match=rf"could not be written to {tmp_path}: no space left"):
            checkpoints.save(1, small(1))
        assert checkpoints.latest_step() is None


def test_a_reader_sees_what_another_process_saved(tmp_path):
    with Checkpoints(tmp_path) as writer, Checkpoints(tmp_path) as reader:
        assert reader.latest_step() is None
        writer.save(1, small(1), score=2.0)
        writer.wait()
        assert reader.restore(small(0))[0] == 1
        assert reader.best_step() == 1


def test_orbax_is_quiet_and_loaded_only_when_needed(tmp_path, caplog, monkeypatch):
    logger = logging.getLogger("absl")
    monkeypatch.setattr(logger, "level", logging.NOTSET)
    logger.setLevel(logging.NOTSET)  # as in a fresh process
    with caplog.at_level(logging.INFO):
        with Checkpoints(saved(tmp_path)) as checkpoints:
            checkpoints.restore(small(0))
    assert [record.getMessage() for record in caplog.records] == []
    program = "import sys, genmix.runs.checkpoints; print('orbax.checkpoint' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert re.fullmatch(r"False\s*", result.stdout), result


HOST = """
import sys
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from genmix.runs.checkpoints import Checkpoints

directory, port, host = sys.argv[1:]
jax.distributed.initialize(f"127.0.0.1:{port}", 2, int(host))
mesh = Mesh(np.array(jax.devices()), ("data",))
whole = np.arange(32.0, dtype=np.float32).reshape(8, 4)


def shared(array, *axes):
    sharding = NamedSharding(mesh, P(*axes))
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def state(k):
    keys = jax.random.wrap_key_data(shared(np.arange(16, dtype=np.uint32).reshape(8, 2), "data"))
    sharded = {"x": shared(whole * k, "data"), "everywhere": shared(whole + k), "keys": keys}
    return sharded | {"local": jnp.ones(3) * k, "count": k, "key": jax.random.key(k)}


with Checkpoints(directory) as checkpoints:
    for step in (1, 2, 3, 4):
        checkpoints.save(step, state(step), score=-step)
    step, restored = checkpoints.restore(state(0))
    best, _ = checkpoints.restore_best(state(0))
    assert (step, best) == (4, 1)
for leaf, expected in zip(jax.tree.leaves(restored), jax.tree.leaves(state(4)), strict=True):
    if isinstance(leaf, int):
        assert leaf == expected
        continue
    assert leaf.sharding == expected.sharding
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf, expected = jax.random.key_data(leaf), jax.random.key_data(expected)
    for part, other in zip(leaf.addressable_shards, expected.addressable_shards, strict=True):
        np.testing.assert_array_equal(part.data, other.data)
"""


@pytest.mark.slow
def test_two_hosts_save_and_restore_what_they_share(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    hosts = [
        subprocess.Popen(
            [sys.executable, "-c", HOST, str(tmp_path / "run"), port, host],
            env=environment | {"JAX_PLATFORMS": "cpu"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for host in ("0", "1")
    ]
    errors = [host.communicate(timeout=120)[1] for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], errors
    assert step_folders(tmp_path / "run") == ["1", "3", "4"]
