"""What a run survives: death at any moment, signals, numbers that are not finite, full disks."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from genmix.objectives import Term
from genmix.runs import run_directory, run_log
from genmix.runs.checkpoints import Checkpoints
from genmix.runs.interruption import Interrupted, Interruption
from genmix.training import Plan, Player, Run, Validation, fit

PROGRAM = Path(__file__).with_name("killed_program.py")
DATA = np.random.default_rng(0).normal(2.0, 1.0, (64, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Programs that are the same in many tests are compiled once."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("compiled")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    yield
    jax.config.update("jax_compilation_cache_dir", None)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)


@pytest.fixture(autouse=True)
def default_handlers():
    """As in a terminal; in the background of a shell SIGINT is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


pytestmark = pytest.mark.usefixtures("compiled")


class Children:
    """Runs of killed_program.py in children of one process."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.errors = folder / "stderr"
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, str(PROGRAM), str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=PROGRAM.parents[2],
                env=os.environ | {"PYTHONPATH": "."},
                start_new_session=True,
                text=True,
            )

    def run(self, name: str, *arguments: str, kill_at: int | str | None = None) -> dict:
        assert self.process.stdin
        assert self.process.stdout
        order = {"name": name, "arguments": arguments, "kill_at": kill_at}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline() or self.errors.read_text())


@pytest.fixture(scope="module")
def children(tmp_path_factory):
    children = Children(tmp_path_factory.mktemp("children"))
    yield children
    os.killpg(children.process.pid, signal.SIGKILL)
    children.process.communicate()


@pytest.fixture(scope="module")
def whole(children) -> int:
    """The undisturbed run, which stops early; the number of its file operations."""
    answer = children.run("whole", "--patience", "3")
    assert answer["code"] == 0
    assert metrics(children.folder / "whole")[-1]["step"] == 60
    assert answer["events"] > 100
    return answer["events"]


def metrics(run: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("time", "seconds")} for line in lines]


def assert_same_end(run: Path, undisturbed: Path):
    """Bitwise the same state and best model, and the same metrics."""
    with np.load(run / "final.npz") as got, np.load(undisturbed / "final.npz") as expected:
        assert got.files == expected.files
        for name in got.files:
            assert got[name].dtype == expected[name].dtype
            assert got[name].tobytes() == expected[name].tobytes()
    assert metrics(run) == metrics(undisturbed)


def kill_and_resume(children: Children, name: str, moments: list[int | str]):
    run = children.folder / name
    for moment in moments:
        resume = ["--resume"] if run.exists() else []
        answer = children.run(name, "--patience", "3", *resume, kill_at=moment)
        assert answer["code"] == -signal.SIGKILL, (moment, answer)
    assert children.run(name, "--patience", "3", "--resume")["code"] == 0
    assert_same_end(run, children.folder / "whole")


def test_a_run_killed_again_and_again_ends_as_the_undisturbed_one(children, whole):
    """Killed before six file operations drawn at random, and once between seal and rename."""
    moments = np.random.default_rng(0).integers(1, whole // 3, 6).tolist()
    kill_and_resume(children, "cut", [*moments[:3], "seal", *moments[3:]])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_a_run_killed_at_many_more_moments_ends_as_the_undisturbed_one(children, whole, seed):
    rng = np.random.default_rng(seed)
    moments = [*rng.integers(1, whole // 6, 10).tolist(), "seal"]
    kill_and_resume(children, f"cut-{seed}", rng.permutation(np.array(moments, object)).tolist())


@pytest.mark.slow
def test_a_run_killed_from_outside_ends_as_the_undisturbed_one(children, whole, tmp_path):
    """At random times, whatever the run is doing; wherever that is, the end is the same."""
    rng, kills = np.random.default_rng(0), 0
    arguments = ["--patience", "3", "--out", str(tmp_path / "run")]
    program = (
        f"import sys; sys.path[:0] = ['.', {str(PROGRAM.parent)!r}]\n"
        "import killed_program as p; from genmix.runs import command_line\n"
        "print(flush=True); command_line.run(p.main, p.Config)"
    )
    for _ in range(12):
        resume = ["--resume"] if (tmp_path / "run").exists() else []
        run = subprocess.Popen(
            [sys.executable, "-c", program, *arguments, *resume],
            stdout=subprocess.PIPE,
            cwd=PROGRAM.parents[2],
        )
        assert run.stdout
        run.stdout.readline()
        try:
            run.wait(timeout=rng.uniform(0.2, 4.0))
        except subprocess.TimeoutExpired:
            run.kill()
            kills += 1
        run.communicate()
    assert kills >= 3
    final = subprocess.run(
        [sys.executable, "-c", program, *arguments, "--resume"], cwd=PROGRAM.parents[2]
    )
    assert final.returncode == 0
    assert_same_end(tmp_path / "run", children.folder / "whole")


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_the_round_and_says_so(children, whole, signum, code):
    name = f"signal-{code}"
    before = children.errors.read_text()
    answer = children.run(name, "--patience", "3", "--signal", str(int(signum)))
    assert answer["code"] == code
    # Before it XLA may say what it thinks of its own cache.
    assert (
        children.errors.read_text()
        .removeprefix(before)
        .endswith(
            f"stopped by {signum.name} after round 20 of 80, which is saved in "
            f"{children.folder / name}: --resume with the same --out goes on from there\n"
        )
    )
    assert metrics(children.folder / name)[-1]["step"] == 20
    assert (children.folder / name / "checkpoints" / "20").is_dir()
    assert children.run(name, "--patience", "3", "--resume")["code"] == 0
    assert_same_end(children.folder / name, children.folder / "whole")


def test_a_second_interrupt_stops_at_once_even_in_a_compiled_call_that_never_ends(children):
    before = children.errors.read_text()
    assert children.run("hang", "--hang")["code"] == 130
    assert "stopped at once by a second SIGINT" in children.errors.read_text()[len(before) :]


class Location(nnx.Module):
    def __init__(self, value=0.0):
        self.loc = nnx.Param(jnp.asarray(value))
        self.scale = nnx.Param(jnp.asarray(1.0))


def squared_error(model, key, batch, carry):
    loss = jnp.mean((batch - model.loc + 0.1 * jax.random.normal(key)) ** 2)
    return loss + 0.0 * model.scale[...], ({"loc": model.loc[...]}, carry + 1)


def player(loss=squared_error, optimizer=None, **options):
    term = Term(loss, lambda model: jnp.zeros((), jnp.int32))
    return Player(loss=term, optimizer=optimizer or optax.adam(0.05), **options)


def train(directory, players=None, model=None, *, resume=False, debug=False, **plan):
    plan = Plan(**{"num_rounds": 40, "batch_size": 8, "rounds_per_call": 10, **plan})
    run = Run(directory=directory, checkpoint_every=10, resume=resume, debug=debug, label=None)
    return fit(jax.random.key(0), model or Location(), players or [player()], DATA, plan, run)


def saved(directory: Path) -> list[int]:
    names = [path.name for path in (directory / "checkpoints").iterdir()]
    return sorted(int(name) for name in names if name.isdecimal())


def logged(directory: Path) -> list[int]:
    return [line["step"] for line in metrics(directory)]


def value(result) -> bytes:
    return np.asarray(result.state.model.loc[...]).tobytes()


# Signals in the process of the caller


def handlers():
    return [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_handlers_stand_only_while_fit_runs(tmp_path, signum):
    before, during = handlers(), []

    def score(model):
        during.extend(handlers())
        if len(during) == 4:
            signal.raise_signal(signum)
        return 0.0

    with pytest.raises(Interrupted, match=f"{signum.name} after round 20 of 40.*--resume") as error:
        train(tmp_path, validation=Validation(score, every=10))
    assert error.value.signum == signum
    assert isinstance(error.value, KeyboardInterrupt)
    assert not set(before) & set(during)
    assert handlers() == before
    assert signal.set_wakeup_fd(-1) == -1
    assert saved(tmp_path) == [10, 20]
    assert "genmix" not in "".join(thread.name for thread in threading.enumerate())
    assert value(train(tmp_path, resume=True)) == value(train(None))


def test_without_a_directory_signals_are_the_caller_s(tmp_path):
    during = []
    score = lambda model: (during.extend(handlers()), 0.0)[1]
    train(None, num_rounds=10, validation=Validation(score, every=10))
    assert during == handlers()


def test_in_another_thread_no_handler_is_installed(tmp_path):
    during, before = [], handlers()

    def run():
        with Interruption() as interruption:
            during.extend([*handlers(), interruption.signum])

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert during == [*before, None]


def test_the_program_s_own_handlers_and_ignored_signals_stay(tmp_path):
    received = []
    before = signal.signal(signal.SIGTERM, lambda signum, frame: received.append(signum))
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        assert received == [signal.SIGTERM]
        assert interruption.signum is None
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, ignored)


def test_a_signal_is_not_lost_while_the_block_closes():
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGTERM)
    assert interruption.signum == signal.SIGTERM


# Numbers that are not finite


def after(carry, round):
    return carry >= round - 1


def loss_turns_nan(model, key, batch, carry):
    loss, (_, carry) = squared_error(model, key, batch, carry)
    kl = jnp.where(after(carry - 1, 26), jnp.nan, 1.0)
    return loss + kl, ({"fine": loss, "kl": kl}, carry)


def loss_turns_infinite(model, key, batch, carry):
    loss, rest = squared_error(model, key, batch, carry)
    return loss + jnp.where(after(carry, 26), jnp.inf, 0.0), rest


def gradient_turns_nan(model, key, batch, carry):
    """The derivative of sqrt(0 * y) is infinite times zero, though its value is zero."""
    loss, rest = squared_error(model, key, batch, carry)
    hidden = jnp.sqrt(jnp.where(after(carry, 26), 0.0, 1.0) * jnp.exp(model.scale[...]))
    return loss + hidden, rest


MESSAGES = [
    (loss_turns_nan, "the loss of player 'model' at round 26 is nan, and so is its kl;"),
    (loss_turns_infinite, "the loss of player 'model' at round 26 is inf;"),
    (
        gradient_turns_nan,
        "the gradient of player 'model' at round 26 is not finite for scale, though the loss is;",
    ),
]


@pytest.mark.parametrize(("loss", "message"), MESSAGES)
def test_what_is_not_finite_stops_the_run_and_is_named(tmp_path, loss, message):
    with pytest.raises(FloatingPointError, match=message) as error:
        train(tmp_path, [player(loss)])
    for part in ("training stops here, and the checkpoints before it are kept.", "--debug"):
        assert part in str(error.value)
    assert saved(tmp_path) == logged(tmp_path) == [10, 20]


def test_a_resumed_run_stops_at_the_same_round(tmp_path):
    loss, message = MESSAGES[0]
    for resume in (False, True):
        with pytest.raises(FloatingPointError, match=message):
            train(tmp_path, [player(loss)], resume=resume)
        assert saved(tmp_path) == logged(tmp_path) == [10, 20]


def test_the_player_and_its_step_are_named(tmp_path):
    """The gradient of the critic's second step of round 9; the generator's is NaN after it."""

    def critic(model, key, batch, carry):
        loss, rest = squared_error(model, key, batch, carry)
        return loss + jnp.sqrt(jnp.where(carry >= 25, 0.0, 1.0) * jnp.exp(model.scale[...])), rest

    players = [
        player(name="generator", owns=("loc",)),
        player(critic, name="critic", owns=("scale",), steps=3),
    ]
    message = (
        "the gradient of player 'critic' at round 9, step 2 of 3 is not finite for scale, though "
        r"the loss is; training stops here\. Lower"
    )
    with pytest.raises(FloatingPointError, match=message):
        train(None, players)


def test_an_update_that_overflows_is_named(tmp_path):
    huge = optax.sgd(lambda count: jnp.where(count == 15, 1e38, 0.01))
    message = "the update of player 'model' at round 16 makes loc not finite, though the gradient"
    with pytest.raises(FloatingPointError, match=message):
        train(tmp_path, [player(optimizer=huge)], model=Location(1e3))
    assert saved(tmp_path) == [10]


def test_an_infinity_in_the_optimizer_is_named_and_not_saved(tmp_path):
    """Adam's second moment overflows at gradients of 1e20; the parameters stand still, finite."""

    def steep(model, key, batch, carry):
        return 1e20 * model.loc[...], ({}, carry)

    message = r"optimizers\.model\.0\.nu\.loc is not finite by round 10; training"
    with pytest.raises(FloatingPointError, match=message):
        train(tmp_path, [player(steep)])
    assert not (tmp_path / "checkpoints").exists()


def test_an_optimizer_may_begin_at_infinity_and_may_skip_bad_gradients(tmp_path):
    plateau = optax.contrib.reduce_on_plateau()

    def update(updates, state, params=None):
        return plateau.update(updates, state, params, value=1.0)

    smallest = optax.GradientTransformation(plateau.init, update)
    optimizer = optax.apply_if_finite(optax.chain(optax.sgd(0.1), smallest), 100)
    result = train(tmp_path, [player(gradient_turns_nan, optimizer)])
    assert np.isfinite(float(result.model.loc[...]))
    assert saved(tmp_path)[-1] == 40


def test_debug_names_the_operation_and_its_line(tmp_path):
    with pytest.raises(FloatingPointError, match="at round 26 is not finite for scale") as error:
        train(tmp_path, [player(gradient_turns_nan)], debug=True)
    lines = str(error.value).splitlines()
    assert lines[0].endswith("the operation: division by zero")
    assert "test_faults.py" in lines[1]
    assert "in gradient_turns_nan: hidden = jnp.sqrt(" in lines[1]
    assert saved(tmp_path) == [10, 20]


def test_debug_names_the_operation_of_a_loss(tmp_path):
    def logarithm(model, key, batch, carry):
        value = jnp.log(jnp.where(carry >= 3, -1.0, 1.0))
        return value + model.loc[...] ** 2, ({}, carry + 1)

    message = r"(?s)at round 4 is nan;.*nan generated by primitive: log.*value = jnp\.log\("
    with pytest.raises(FloatingPointError, match=message):
        train(None, [player(logarithm)], debug=True)


def test_debug_says_so_where_a_number_has_only_grown(tmp_path):
    message = "at round 16 .*the operation: none gives NaN or divides by zero, so a number grows"
    huge = optax.sgd(lambda count: jnp.where(count == 15, 1e38, 0.01))
    with pytest.raises(FloatingPointError, match=message):
        train(None, [player(optimizer=huge)], model=Location(1e3), debug=True)


# Disks


def fill_metrics(log):
    log._file.close()
    log._file = open("/dev/full", "a")


def fill_events(log):
    log._events._next_flush = 0.0
    log._events._records.close()
    log._events._records._writer = open("/dev/full", "wb")


@pytest.mark.parametrize(
    ("fill", "file"), [(fill_metrics, r"/metrics\.jsonl"), (fill_events, "/tensorboard/events")]
)
def test_a_full_disk_stops_the_run_and_it_can_be_resumed(tmp_path, monkeypatch, fill, file):
    write = run_log.RunLog.write

    def full_from_30(log, step, metrics):
        if step == 30:
            fill(log)
        write(log, step, metrics)

    monkeypatch.setattr(run_log.RunLog, "write", full_from_30)
    with pytest.raises(OSError, match=rf"No space left on device.*{tmp_path}{file}") as error:
        train(tmp_path)
    assert error.value.errno == errno.ENOSPC
    monkeypatch.undo()
    assert saved(tmp_path) == [10, 20]
    assert logged(tmp_path)[:2] == [10, 20]
    assert value(train(tmp_path, resume=True)) == value(train(None))
    assert logged(tmp_path) == [10, 20, 30, 40]


def test_a_disk_too_full_for_a_checkpoint_stops_the_run_and_it_can_be_resumed(
    tmp_path, monkeypatch
):
    """TensorStore tells of a full disk by a ValueError in Orbax's thread."""
    seal = Checkpoints._seal

    def fill_at_20(checkpoints):
        if checkpoints._unsealed[0] >= 20:
            raise ValueError("RESOURCE_EXHAUSTED: No space left on device")
        seal(checkpoints)

    monkeypatch.setattr(Checkpoints, "_seal", fill_at_20)
    message = rf"could not be written to {tmp_path}/checkpoints: RESOURCE_EXHAUSTED.*--resume"
    with pytest.raises(OSError, match=message):
        train(tmp_path)
    monkeypatch.undo()
    assert saved(tmp_path) == [10]
    assert logged(tmp_path)[:2] == [10, 20]
    assert value(train(tmp_path, resume=True)) == value(train(None))
    assert logged(tmp_path) == [10, 20, 30, 40]
    assert saved(tmp_path) == [30, 40]


def test_lost_permission_stops_the_run_and_it_can_be_resumed(tmp_path):
    folder = tmp_path / "checkpoints"
    (tmp_path / "probe").mkdir(0o500)
    if os.access(tmp_path / "probe", os.W_OK):
        pytest.skip("root may write everywhere")

    def score(model):
        while not (folder / "10").exists():
            time.sleep(0.01)
        folder.chmod(0o500)
        return 0.0

    with pytest.raises(OSError, match=rf"could not be written to {folder}: .*Permission denied"):
        train(tmp_path, validation=Validation(score, every=20))
    folder.chmod(0o700)
    assert saved(tmp_path) == [10]
    assert value(train(tmp_path, resume=True)) == value(train(None))


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError, match="file/run"):
        train(tmp_path / "file" / "run")


# Two processes


def test_a_directory_in_use_is_refused(tmp_path):
    with run_directory.locked(tmp_path / "run"):
        message = rf"run is in use by process {os.getpid()} on .*: wait until .* another --out"
        with pytest.raises(BlockingIOError, match=message):
            train(tmp_path / "run")
        assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
    train(tmp_path / "run", num_rounds=10)
    with run_directory.locked(tmp_path / "run"):  # released at the end of fit
        pass


# Damaged checkpoints


def damage(directory: Path, step: int) -> None:
    seal = directory / "checkpoints" / str(step) / "seal.txt"
    seal.write_bytes(seal.read_bytes()[:20])


def peak(model):
    """Best at round 20 of 40."""
    return -abs(float(model.loc[...]) - 0.9)


def test_after_damage_to_the_latest_checkpoint_the_run_ends_as_the_undisturbed_one(tmp_path):
    """The log is ahead of the checkpoint that is used, and the damaged one is the best."""
    options: dict[str, Any] = {"validation": Validation(peak, every=10)}
    whole = train(tmp_path / "whole", **options)
    assert int(np.argmax(whole.history["validation"][1])) == 1
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    for step in (30, 40):
        shutil.rmtree(tmp_path / "cut" / "checkpoints" / str(step))
    train(tmp_path / "early", num_rounds=10, **options)
    shutil.copytree(tmp_path / "early/checkpoints/10", tmp_path / "cut/checkpoints/10")
    damage(tmp_path / "cut", 20)
    with pytest.warns(UserWarning, match=r"Falling back on the checkpoint of step 10.*step 20: "):
        result = train(tmp_path / "cut", resume=True, **options)
    assert value(result) == value(whole)
    assert float(result.model.loc[...]) == float(whole.model.loc[...])
    assert metrics(tmp_path / "cut") == metrics(tmp_path / "whole")
    assert saved(tmp_path / "cut") == saved(tmp_path / "whole")


def test_if_the_best_is_damaged_the_next_best_takes_its_place_with_a_warning(tmp_path):
    options: dict[str, Any] = {"validation": Validation(peak, every=10)}
    train(tmp_path, **options)
    assert saved(tmp_path) == [20, 30, 40]
    damage(tmp_path, 20)
    with pytest.warns(
        UserWarning, match="best model, of round 20, has no .* of round 30 takes its"
    ):
        result = train(tmp_path, resume=True, **options)
    assert peak(result.model) == result.history["validation"][1][2]


def test_if_no_validated_model_is_left_patience_still_counts_from_the_best(tmp_path):
    options: dict[str, Any] = {"validation": Validation(peak, every=20, patience=1)}
    train(tmp_path, num_rounds=30, **options)
    assert saved(tmp_path) == [20, 30]
    damage(tmp_path, 20)
    with pytest.warns(UserWarning, match="best model, of round 20, .* next one that is validated"):
        result = train(tmp_path, resume=True, **options)
    assert result.history["validation"][0].tolist() == [20, 40]
    assert peak(result.model) == result.history["validation"][1][1]
