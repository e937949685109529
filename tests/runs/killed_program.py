"""A tiny training run, to be killed: python killed_program.py FOLDER, with orders on stdin.

An order is a line of JSON: {"name", "arguments", "kill_at"}. Each is carried out in a child of its
own, forked before JAX has started a device, which spares every one the imports; the answer on
stdout is {"code", "events"}. With kill_at the child kills itself (SIGKILL) just before the file
operation of that number in the folder of the run, or, if it is "seal", between the writing of a
checkpoint and the rename that makes it one. A run that comes to its end leaves final.npz.
"""

import dataclasses
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from genmix.nets import state as net_state
from genmix.objectives import Term
from genmix.runs import command_line
from genmix.runs.checkpoints import Checkpoints
from genmix.training import Plan, Player, Run, Validation, fit

DATA = np.random.default_rng(0).normal(2.0, 1.0, (64, 3)).astype(np.float32)
OPERATIONS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")


class Location(nnx.Module):
    def __init__(self):
        self.loc = nnx.Param(jnp.zeros(3))


def squared_error(model, key, batch, carry):
    noise = jax.random.normal(key, (3,))
    loss = jnp.mean((batch - model.loc + noise) ** 2)
    return loss, ({"norm": jnp.sum(model.loc[...] ** 2)}, carry + 1)


def score(model):
    """Highest at round 30 of 80, so that with patience 3 training stops at round 60."""
    return -abs(float(jnp.sum(model.loc[...])) - 2.7)


def interrupt_twice():
    for _ in range(2):
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    out: Path
    resume: bool = False
    patience: int | None = None
    signal: int | None = None
    """Sent to itself at the validation of round 20."""
    hang: bool = False
    """Validation enters a compiled call that never ends; meanwhile two SIGINTs come."""


def main(config: Config) -> None:
    def validate(model):
        seen.append(model)
        if config.signal is not None and len(seen) == 2:
            signal.raise_signal(config.signal)
        if config.hang:
            threading.Thread(target=interrupt_twice, daemon=True).start()
            jax.jit(lambda x: jax.lax.while_loop(lambda x: x < 2, lambda x: 3.7 * x * (1 - x), x))(
                0.3
            ).item()
        return score(model)

    seen = []
    loss = Term(squared_error, lambda model: jnp.zeros((), jnp.int32))
    player = Player(loss=loss, optimizer=optax.adam(0.05))
    plan = Plan(
        num_rounds=80,
        batch_size=8,
        rounds_per_call=5,
        average_decay=0.9,
        validation=Validation(validate, every=10, patience=config.patience),
    )
    run = Run(directory=config.out, checkpoint_every=20, resume=config.resume, label=None)
    result = fit(jax.random.key(0), Location(), [player], DATA, plan, run)
    leaves = [
        *jax.tree.leaves(result.state),
        *net_state.variables(result.model, nnx.Param).values(),
    ]
    is_key = lambda a: jnp.issubdtype(a.dtype, jax.dtypes.prng_key)
    arrays = [jax.random.key_data(a) if is_key(a) else a for a in leaves]
    np.savez(config.out / "final.npz", *arrays)


class Killer:
    """Counts what happens to the files of a folder, and kills the process at a number."""

    def __init__(self, folder: Path, kill_at: int | str | None):
        self.folder, self.kill_at, self.events = str(folder), kill_at, 0
        sys.addaudithook(self)
        if kill_at == "seal":
            seal = Checkpoints._seal
            killed = lambda checkpoints: (seal(checkpoints), kill())
            mock.patch.object(Checkpoints, "_seal", killed).start()

    def __call__(self, event: str, arguments: tuple) -> None:
        if event in OPERATIONS and str(arguments[0]).startswith(self.folder):
            self.events += 1
            if self.events == self.kill_at:
                kill()


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def carry_out(folder: Path, name: str, arguments: list[str], kill_at: int | str | None) -> int:
    """Run in the child; the number of file operations, if it comes to an end."""
    jax.config.update("jax_compilation_cache_dir", str(folder / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    killer = Killer(folder / name, kill_at)
    sys.argv = ["killed_program", "--out", str(folder / name), *arguments]
    command_line.run(main, Config)
    return killer.events


def serve(folder: Path) -> None:
    for line in sys.stdin:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            code = 0
            try:
                os.write(writer, str(carry_out(folder, **json.loads(line))).encode())
            except SystemExit as exit:
                code = exit.code if isinstance(exit.code, int) else 1
            sys.stderr.flush()
            os._exit(code)
        os.close(writer)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        answer = {"code": code, "events": int(os.read(reader, 100) or 0)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
        os.close(reader)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    serve(Path(sys.argv[1]))
