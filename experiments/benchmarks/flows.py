"""Speed of flows beside peers: python -m experiments.benchmarks.flows.

The same layers and widths in every library: densities, draws, gradients, and what compiling takes.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import jax
import rich.box
from flax import nnx
from rich.console import Console
from rich.table import Table

from experiments.benchmarks.flows_peers import (
    BINS,
    BOUND,
    DIM,
    HIDDEN,
    Programs,
    distrax_programs,
    flowjax_programs,
    jax_programs,
    nflows_programs,
    zuko_programs,
)
from genmix import bijectors as bij
from genmix.families import StandardNormal, transformed
from genmix.nets import MADE, MLP
from genmix.runs import command_line, run_directory

Model = Literal["maf", "iaf", "realnvp", "spline"]
LAYERS = {"maf": 5, "iaf": 5, "realnvp": 8, "spline": 4}
CELLS = ("log_prob", "sample", "gradient")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Contestants that are not installed are named as missing."""

    model: tuple[Model, ...] = ("maf", "iaf", "realnvp", "spline")
    batch_size: int = 1024
    repeats: int = 7
    """Interleaved measurements of each contestant."""
    seconds: float = 0.5
    """Length of one measurement, about."""
    compilation: bool = True
    """Time what compiling takes, too."""
    few: int = 4
    many: int = 32
    """Layers of the flows whose compilation is timed."""
    threads: int = 2
    """Threads of PyTorch."""
    out: Path = Path("runs/benchmarks/flows.json")

    def __post_init__(self):
        for name in ("batch_size", "repeats", "few", "many", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")


def genmix_flow(model: str, num_layers: int) -> Any:
    rngs = nnx.Rngs(0)
    half = DIM // 2
    transformer = bij.ShiftScale()
    if model == "spline":
        transformer = bij.RationalQuadratic(num_bins=BINS, bound=BOUND)
    size = transformer.num_parameters

    def coupling() -> Any:
        network = MLP(half, HIDDEN, half, num_outputs=size, activation=jax.nn.relu, rngs=rngs)
        exchange = bij.Permutation((*range(half, DIM), *range(half)))
        return bij.chain([bij.coupling_layer(network, transformer, split=half), exchange])

    def masked(order: Sequence[int]) -> Any:
        made = MADE(DIM, HIDDEN, size, order=order, rngs=rngs)
        # As large as the peers' weights: near the identity an inverse would be found at once.
        made.out.kernel[...] = 10 * made.out.kernel[...]
        direction = bij.masked_autoregressive
        return (bij.inverse_autoregressive if model == "iaf" else direction)(made, transformer)

    if model in ("realnvp", "spline"):
        bijector = bij.repeated([coupling() for _ in range(num_layers)])
    else:
        # Every other network has the entries backwards, so that no layer needs to reverse them.
        layers = [masked(range(DIM)[:: (1, -1)[i % 2]]) for i in range(num_layers)]
        pairs = [bij.chain(layers[i : i + 2]) for i in range(0, num_layers, 2)]
        bijector = bij.chain(layers) if num_layers % 2 else bij.repeated(pairs)
    return transformed(StandardNormal(DIM), bijector)


def genmix_programs(model: str, num_layers: int, batch_size: int) -> Programs:
    keys = lambda key: jax.random.split(key, batch_size)
    return jax_programs(
        genmix_flow(model, num_layers),
        lambda flow, x: jax.vmap(flow.log_prob)(x),
        lambda flow, key: jax.vmap(flow.sample_and_log_prob)(keys(key)),
        model,
        batch_size,
    )


Maker = Callable[[str, int, int], Programs]
CONTESTANTS: dict[str, Maker] = {
    "genmix": genmix_programs,
    "distrax": distrax_programs,
    "FlowJAX": flowjax_programs,
    "nflows": nflows_programs,
    "zuko": zuko_programs,
}
IN_JAX = ("genmix", "distrax", "FlowJAX")


def has(name: str, model: str) -> bool:
    return name != "distrax" or model in ("realnvp", "spline")


def missing() -> list[str]:
    """Peers whose packages are not installed."""
    return [name for name in CONTESTANTS if not find_spec(name.lower())]


def interleaved(programs: dict[str, Callable[[], Any]], config: Config) -> dict[str, list[float]]:
    """Seconds a call of each contestant, measured in turn so that all see the same machine.

    Every other time the turn goes backwards: the first would else always follow PyTorch's threads.
    """
    calls, seconds = {}, {name: [] for name in programs}
    for name, run in programs.items():
        run()  # compiles
        begin = time.perf_counter()
        run()
        calls[name] = max(1, round(config.seconds / (time.perf_counter() - begin)))
    for repeat in range(config.repeats):
        for name, run in list(programs.items())[:: (1, -1)[repeat % 2]]:
            if repeat >= 3 and seconds[name][0] > 2:
                continue  # three times are enough of what takes seconds
            run()  # the contestant before may have left its threads waiting
            begin = time.perf_counter()
            for _ in range(calls[name]):
                run()
            seconds[name].append((time.perf_counter() - begin) / calls[name])
    return seconds


def time_model(config: Config, model: str, absent: list[str]) -> list[dict[str, Any]]:
    names = [name for name in CONTESTANTS if has(name, model) and name not in absent]
    programs = {name: CONTESTANTS[name](model, LAYERS[model], config.batch_size) for name in names}
    rows = []
    for cell in CELLS:
        seconds = interleaved({name: getattr(programs[name], cell) for name in names}, config)
        for name, values in seconds.items():
            median = statistics.median(values)
            spread = (max(values) - min(values)) / median
            row = {"model": model, "cell": cell, "contestant": name}
            rows.append({**row, "milliseconds": 1e3 * median, "spread": spread})
    return rows


def time_compilation(config: Config, model: str, absent: list[str]) -> list[dict[str, Any]]:
    """Of the gradient, of few layers and of many, once each in a process that is warm."""
    rows = []
    for name in IN_JAX:
        if name in absent or not has(name, model):
            continue
        for count in (config.few, config.many):
            seconds = CONTESTANTS[name](model, count, config.batch_size).compile_seconds
            row = {"model": model, "contestant": name, "layers": count}
            rows.append({**row, "seconds": seconds})
    return rows


def print_times(config: Config, rows: list[dict[str, Any]], absent: list[str]) -> None:
    note = f"; not installed: {', '.join(absent)}" if absent else ""
    title = f"milliseconds, batch {config.batch_size}, {DIM} dimensions{note}"
    table = Table(title=title, box=rich.box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("model", "layers", "", *CONTESTANTS, "genmix is"):
        table.add_column(name, justify="left" if name in ("model", "") else "right")
    for model in dict.fromkeys(row["model"] for row in rows):
        for cell in CELLS:
            found = {
                row["contestant"]: row
                for row in rows
                if (row["model"], row["cell"]) == (model, cell)
            }
            times = [f"{found[n]['milliseconds']:.2f}" if n in found else "" for n in CONTESTANTS]
            peers = [row["milliseconds"] for name, row in found.items() if name != "genmix"]
            ratio = f"{min(peers) / found['genmix']['milliseconds']:.2f} x" if peers else ""
            table.add_row(model, str(LAYERS[model]), cell, *times, ratio)
        table.add_section()
    Console().print(table)


def print_compilation(config: Config, rows: list[dict[str, Any]]) -> None:
    table = Table(title="seconds to trace and compile the gradient")
    few, many = f"{config.few} layers", f"{config.many} layers"
    for name in ("model", "contestant", few, many, "ratio"):
        table.add_column(name, justify="left" if name in ("model", "contestant") else "right")
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        a, b = first["seconds"], second["seconds"]
        table.add_row(first["model"], first["contestant"], f"{a:.2f}", f"{b:.2f}", f"{b / a:.2f}")
    Console().print(table)


def main(config: Config) -> None:
    absent = missing()
    if find_spec("torch"):
        import torch

        torch.set_num_threads(config.threads)
    times = [row for model in config.model for row in time_model(config, model, absent)]
    print_times(config, times, absent)
    compilation = []
    for model in config.model if config.compilation else ():
        compilation += time_compilation(config, model, absent)
    print_compilation(config, compilation)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    run_directory.write_json(
        config.out,
        {
            "times": times,
            "compilation": compilation,
            "missing": absent,
            "versions": run_directory.versions(),
            "git_commit": run_directory.git_commit(),
        },
    )
    print(f"written to {config.out}")


if __name__ == "__main__":
    command_line.run(main, Config)
