"""Speed of training on 1 to 8 devices, and as k, batch and data grow.

python -m experiments.benchmarks.scaling. Without accelerators the devices are virtual: they share
the cores of this machine, each computing in one thread, so that more devices than cores show what
it costs to spread the work, not what it brings. Beside the time stands the time that all cores
spent on it, which other programs on the machine disturb less. The networks are Burda et al.'s.
"""

import contextlib
import dataclasses
import itertools
import math
import os
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, Mesh
from rich.console import Console
from rich.table import Table

from experiments.benchmarks.iwae import Step, genmix_model, images
from genmix import data, evaluation, objectives, sharding
from genmix.runs import command_line, run_directory
from genmix.training import Player, compile_rounds, start


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Each table's cells are measured in turn, several times; medians are reported."""

    devices: tuple[int, ...] = (1, 2, 4, 8)
    batch_size: int = 64
    k: int = 64
    virtual: bool = True
    """Devices are virtual ones on the CPU; with --no-virtual those that JAX finds."""
    growth: bool = True
    """Measure how the cost grows with k, batch and data, too."""
    repeats: int = 7
    seconds: float = 1.0
    """Length of one measurement, about."""
    out: Path = Path("runs/benchmarks/scaling.json")

    def __post_init__(self):
        for name in ("batch_size", "k"):
            if any(getattr(self, name) % n for n in self.devices):
                raise ValueError(
                    f"{name} must be a multiple of each number of devices, {self.devices}; got "
                    f"{getattr(self, name)}."
                )


def set_up_virtual_devices(count: int) -> None:
    """One thread a device: otherwise a single one would already use every core."""
    flags = [os.environ.get("XLA_FLAGS", ""), "--xla_cpu_multi_thread_eigen=false"]
    os.environ["XLA_FLAGS"] = " ".join(flags).strip()
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", count)


def mesh_of(axis: str, count: int) -> Mesh | None:
    """The first few devices along one axis; no mesh for one device."""
    if count == 1:
        return None
    shape = tuple(count if name == axis else 1 for name in sharding.AXES)
    types = (AxisType.Auto,) * len(shape)
    return jax.make_mesh(shape, sharding.AXES, axis_types=types, devices=jax.devices()[:count])


def reduced_bytes(program: jax.stages.Compiled) -> int:
    """Bytes that one training step sums over the devices."""
    results = re.findall(r"= (.+?) all-reduce(?:-start)?\(", program.as_text() or "")
    shapes = [shape for result in results for shape in re.findall(r"f32\[([\d,]*)\]", result)]
    return sum(4 * math.prod(int(n) for n in shape.split(",") if n) for shape in shapes)


def training(
    batch_size: int,
    k: int,
    *,
    mesh: Mesh | None = None,
    num_images: int = 2000,
    num_steps: int = 10,
) -> tuple[Step, int]:
    """A contestant that runs `num_steps` training steps a call, and the bytes it reduces a step."""
    player = Player(loss=objectives.iwae(k), optimizer=optax.adam(1e-3))
    with jax.set_mesh(mesh) if mesh is not None else contextlib.nullcontext():
        state = sharding.replicated(start(jax.random.key(0), genmix_model(), [player]))
        x = sharding.replicated(jnp.asarray(images(num_images)))
        rounds = compile_rounds(
            [player], batch_size=batch_size, num_rounds=num_steps, transform=data.binarize
        )
        program = rounds.lower(state, x).compile()
    held = [state]

    def step(calls: int) -> None:
        for _ in range(calls):
            held[0], _ = program(held[0], x)
        jax.block_until_ready(held[0])

    return step, reduced_bytes(program)


def nll(num_particles: int) -> Step:
    model, x = genmix_model(), (images(20) > 0.5).astype(np.float32)

    def step(calls: int) -> None:
        for _ in range(calls):
            evaluation.log_likelihood(jax.random.key(0), model, x, num_particles=num_particles)

    return step


def measure(
    config: Config, contestants: dict[Any, Step], units: int
) -> dict[Any, dict[str, float]]:
    """Medians of the milliseconds of each, and of all cores together, for each unit of a call."""
    calls, samples = {}, {cell: [] for cell in contestants}
    for cell, run in contestants.items():
        run(1)
        begin = time.perf_counter()
        run(1)
        calls[cell] = max(1, round(config.seconds / (time.perf_counter() - begin)))
    for _, (cell, run) in itertools.product(range(config.repeats), contestants.items()):
        begin = time.perf_counter(), time.process_time()
        run(calls[cell])
        wall, cores = time.perf_counter() - begin[0], time.process_time() - begin[1]
        samples[cell].append((1e3 * wall / calls[cell] / units, 1e3 * cores / calls[cell] / units))
    results = {}
    for cell, pairs in samples.items():
        walls, cores = zip(*pairs, strict=True)
        median = statistics.median(walls)
        results[cell] = {
            "milliseconds": median,
            "core_milliseconds": statistics.median(cores),
            "spread": (max(walls) - min(walls)) / median,
        }
    return results


def time_devices(config: Config) -> list[dict[str, Any]]:
    """The same training step on more and more devices, along either axis."""
    contestants, reduced = {}, {}
    for axis, count in itertools.product(("data", "particle"), config.devices):
        contestants[axis, count], reduced[axis, count] = training(
            config.batch_size, config.k, mesh=mesh_of(axis, count), num_steps=STEPS
        )
    return [
        {"axis": axis, "devices": count, "reduced_bytes": reduced[axis, count]} | times
        for (axis, count), times in measure(config, contestants, STEPS).items()
    ]


STEPS = 10  # a call
GROWTH: dict[str, tuple[str, tuple[int, ...], Callable[[int], Step], int]] = {
    "k": ("one step, batch 20", (1, 5, 10, 20, 50, 100), lambda k: training(20, k)[0], STEPS),
    "batch": ("one step, k = 5", (20, 50, 100, 200, 500), lambda n: training(n, 5)[0], STEPS),
    "images": (
        "one epoch, batch 100, k = 1",
        (2_000, 5_000, 10_000, 20_000),
        lambda n: training(100, 1, num_images=n, num_steps=n // 100)[0],
        1,
    ),
    "particles": ("NLL of 20 images", (500, 1000, 2000, 5000), nll, 1),
}
"""What grows: (what is measured, values, value -> contestant, measured units in a call)."""


def time_growth(config: Config, what: str) -> list[dict[str, Any]]:
    measured, values, make, units = GROWTH[what]
    times = measure(config, {value: make(value) for value in values}, units)
    return [{"what": what, "measured": measured, "value": n} | times[n] for n in values]


def print_devices(rows: list[dict[str, Any]], config: Config) -> None:
    title = f"one training step, batch {config.batch_size}, k = {config.k}; {os.cpu_count()} cores"
    table = Table(title=title)
    for name in ("axis", "devices", "ms", "spread", "speed-up", "core ms", "reduced a step"):
        table.add_column(name, justify="left" if name == "axis" else "right")
    for row in rows:
        first = next(r for r in rows if r["axis"] == row["axis"])
        table.add_row(
            row["axis"],
            str(row["devices"]),
            f"{row['milliseconds']:.1f}",
            f"{100 * row['spread']:.0f} %",
            f"{first['milliseconds'] / row['milliseconds']:.2f}",
            f"{row['core_milliseconds']:.1f}",
            f"{row['reduced_bytes'] / 1e6:.2f} MB",
        )
    Console().print(table)


def print_growth(rows: list[dict[str, Any]]) -> None:
    table = Table(title=f"{rows[0]['what']}: {rows[0]['measured']}")
    for name in (rows[0]["what"], "ms", "spread", "core ms", "core ms each"):
        table.add_column(name, justify="right")
    for row in rows:
        cores = row["core_milliseconds"]
        times = f"{row['milliseconds']:.2f}", f"{100 * row['spread']:.0f} %", f"{cores:.2f}"
        table.add_row(str(row["value"]), *times, f"{cores / row['value']:.3g}")
    Console().print(table)


def main(config: Config) -> None:
    if config.virtual:
        set_up_virtual_devices(max(config.devices))
    devices = time_devices(config)
    print_devices(devices, config)
    growth = [time_growth(config, what) for what in GROWTH] if config.growth else []
    for rows in growth:
        print_growth(rows)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    run_directory.write_json(
        config.out,
        {
            "devices": devices,
            "growth": growth,
            "cores": os.cpu_count(),
            "versions": run_directory.versions(),
            "git_commit": run_directory.git_commit(),
        },
    )
    print(f"written to {config.out}")


if __name__ == "__main__":
    command_line.run(main, Config)
