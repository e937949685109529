"""Speed of IWAE training and NLL evaluation beside peers: python -m experiments.benchmarks.iwae.

The networks are Burda et al.'s for MNIST (784-200-200-50); the data are random bits, since speed
does not depend on them. All contestants binarize each batch anew, as training does.
"""

import concurrent.futures
import dataclasses
import math
import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from rich.console import Console
from rich.table import Table

from experiments.benchmarks.iwae_peers import (
    HIDDEN,
    LATENT,
    PIXELS,
    Step,
    images,
    jax_step,
    pythae_nll,
    pythae_step,
    torch_nll,
    torch_step,
)
from genmix import bounds, data, evaluation, objectives
from genmix.families import Bernoulli, LatentVariableModel, Normal, StandardNormal
from genmix.nets import MLP
from genmix.runs import command_line, run_directory
from genmix.training import Player, compile_rounds, feed, start


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Contestants that are not installed are left out; `pip install -e .[bench]` brings them."""

    batch_sizes: tuple[int, ...] = (20, 100)
    k: tuple[int, ...] = (1, 5, 50)
    repeats: int = 7
    """Interleaved measurements of each contestant."""
    seconds: float = 1.0
    """Length of one measurement, about."""
    nll_images: int = 500
    nll_particles: int = 5000
    threads: int = 2
    """Threads of PyTorch."""
    out: Path = Path("runs/benchmarks/iwae.json")


def genmix_model() -> LatentVariableModel:
    rngs = nnx.Rngs(0)
    return LatentVariableModel(
        prior=StandardNormal(LATENT),
        likelihood=Bernoulli(MLP(LATENT, (HIDDEN, HIDDEN), PIXELS, rngs=rngs)),
        posterior=Normal(MLP(PIXELS, (HIDDEN, HIDDEN), LATENT, rngs=rngs)),
    )


def genmix_step(
    batch_size: int,
    k: int,
    num_steps: int,
    *,
    estimator: Any = bounds.reparameterized,
    examples_at_once: int | None = None,
) -> Step:
    player = Player(
        loss=objectives.iwae(k, estimator=estimator),
        optimizer=optax.adam(1e-3),
        examples_at_once=examples_at_once,
    )
    state = start(jax.random.key(0), genmix_model(), [player])
    x = jnp.asarray(images())
    rounds = compile_rounds(
        [player], batch_size=batch_size, num_rounds=num_steps, transform=data.binarize
    )
    program = rounds.lower(state, x).compile()
    held = [state]

    def step(calls: int) -> None:
        for _ in range(calls):
            held[0], _ = program(held[0], x)
        jax.block_until_ready(held[0])

    return step


def genmix_step_in_parts(batch_size: int, k: int, num_steps: int) -> Step:
    """Gradients of about 1,000 (image, particle) pairs at a time, which fit into the cache."""
    fitting = [n for n in range(1, batch_size + 1) if batch_size % n == 0 and n * k <= 1000]
    return genmix_step(batch_size, k, num_steps, examples_at_once=max(fitting, default=1))


def genmix_step_resampled(batch_size: int, k: int, num_steps: int) -> Step:
    """One particle of k differentiated: another estimator, with a noisier gradient."""
    return genmix_step(batch_size, k, num_steps, estimator=bounds.resampled)


def genmix_step_streamed(batch_size: int, k: int, num_steps: int) -> Step:
    """Batches read by Grain while the device computes, instead of gathered on it."""
    player = Player(loss=objectives.iwae(k), optimizer=optax.adam(1e-3))
    state = start(jax.random.key(0), genmix_model(), [player])
    stream = data.Stream(images(), batch_size=batch_size, seed=0)
    source = feed.Streamed(stream, batch_size=batch_size, batches_per_round=1)
    rounds = compile_rounds(
        [player],
        batch_size=batch_size,
        num_rounds=num_steps,
        transform=data.binarize,
        data_are_batches=True,
    )
    program = rounds.lower(state, source.take(num_steps)).compile()
    held = [state]

    def step(calls: int) -> None:
        for _ in range(calls):
            held[0], _ = program(held[0], source.take(num_steps))
            source.prepare(num_steps)
        jax.block_until_ready(held[0])

    return step


STEPS: dict[str, Callable[[int, int, int], Step]] = {
    "genmix": genmix_step,
    "genmix, streamed": genmix_step_streamed,
    "genmix, in parts": genmix_step_in_parts,
    "genmix, resampled": genmix_step_resampled,
    "hand-written JAX": jax_step,
    "hand-written PyTorch": torch_step,
    "Pythae": pythae_step,
}


def available(names: list[str]) -> list[str]:
    """Those contestants whose packages are installed."""
    from importlib.util import find_spec

    needs = {"hand-written PyTorch": "torch", "Pythae": "pythae"}
    return [name for name in names if name not in needs or find_spec(needs[name])]


def interleave(contestants: dict[str, Step], repeats: int, calls: dict[str, int]) -> dict[str, Any]:
    """Seconds a call of each contestant, measured in turn so that all see the same machine."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, run in contestants.items():
            begin = time.perf_counter()
            run(calls[name])
            seconds[name].append((time.perf_counter() - begin) / calls[name])
    return seconds


def matmul_peak() -> float:
    """GFLOP/s of a large float32 matrix product, best of several."""
    a = jnp.asarray(np.random.default_rng(0).random((2048, 2048), np.float32))
    product = jax.jit(lambda a: a @ a)
    best = math.inf
    for _ in range(6):
        begin = time.perf_counter()
        jax.block_until_ready(product(a))
        best = min(best, time.perf_counter() - begin)
    return 2 * 2048**3 / best / 1e9


def step_flops(batch_size: int, k: int) -> float:
    """FLOPs of the matrix products of one step: forward once, backward twice that."""
    encoder = PIXELS * HIDDEN + HIDDEN * HIDDEN + HIDDEN * 2 * LATENT
    decoder = LATENT * HIDDEN + HIDDEN * HIDDEN + HIDDEN * PIXELS
    # The encoder's input needs no gradient.
    backward = encoder - PIXELS * HIDDEN + encoder
    return 2.0 * batch_size * (encoder + backward + 3 * k * decoder)


def contestants_of(batch_size: int, k: int) -> list[str]:
    """Parts where there is more than one, resampling where there is a choice."""
    left_out = set()
    if batch_size * k <= 1000:
        left_out.add("genmix, in parts")
    if k == 1:
        left_out.add("genmix, resampled")
    return [name for name in available(list(STEPS)) if name not in left_out]


def time_steps(config: Config, batch_size: int, k: int, peak: float) -> list[dict[str, Any]]:
    num_steps = 100 if k * batch_size <= 500 else 20
    contestants, calls, compile_seconds = {}, {}, {}
    for name in contestants_of(batch_size, k):
        begin = time.perf_counter()
        run = STEPS[name](batch_size, k, num_steps)
        compile_seconds[name] = time.perf_counter() - begin
        run(1)
        begin = time.perf_counter()
        run(1)
        calls[name] = max(1, round(config.seconds / (time.perf_counter() - begin)))
        contestants[name] = run
    rows = []
    for name, seconds in interleave(contestants, config.repeats, calls).items():
        per_step = [s / num_steps for s in seconds]
        median = statistics.median(per_step)
        gflops = step_flops(batch_size, k) / median / 1e9
        rows.append(
            {
                "contestant": name,
                "batch_size": batch_size,
                "k": k,
                "milliseconds": 1e3 * median,
                "spread": (max(per_step) - min(per_step)) / median,
                "set_up_seconds": compile_seconds[name],
                "gflops": gflops,
                "of_peak": gflops / peak,
            }
        )
    return rows


def genmix_nll(num_images: int, num_particles: int) -> Step:
    model, x = genmix_model(), (images(num_images) > 0.5).astype(np.float32)

    def run(calls: int) -> None:
        for _ in range(calls):
            evaluation.log_likelihood(jax.random.key(0), model, x, num_particles=num_particles)

    return run


def nll_memory(config: Config) -> float:
    """MiB that NLL evaluation takes at its peak, above an idle JAX with the model and the data.

    Measured in a process of its own, since a peak is that of a whole life.
    """
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_nll_memory, config).result()


def _nll_memory(config: Config) -> float:
    model, x = genmix_model(), jnp.asarray(images(config.nll_images) > 0.5, jnp.float32)
    jax.block_until_ready((model, x, jax.jit(lambda x: x @ x.T)(x)))
    idle = peak_kib()
    evaluation.log_likelihood(jax.random.key(0), model, x, num_particles=config.nll_particles)
    return (peak_kib() - idle) / 1024


def peak_kib() -> int:
    """Of this program: `ru_maxrss` begins at what the process that started it held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def time_nll(config: Config) -> list[dict[str, Any]]:
    makers = {"genmix": genmix_nll, "hand-written PyTorch": torch_nll, "Pythae": pythae_nll}
    size = config.nll_images, config.nll_particles
    contestants = {name: makers[name](*size) for name in available(list(makers))}
    if "genmix" in contestants:
        contestants["genmix"](1)  # compile
    seconds = interleave(contestants, 3, dict.fromkeys(contestants, 1))
    return [
        {
            "contestant": name,
            "seconds": statistics.median(values),
            "spread": (max(values) - min(values)) / statistics.median(values),
        }
        for name, values in seconds.items()
    ]


def print_steps(rows: list[dict[str, Any]], peak: float) -> None:
    table = Table(title=f"training step; peak of a matrix product {peak:.0f} GFLOP/s")
    for name in ("batch", "k", "contestant", "ms", "spread", "of peak", "genmix is", "set-up"):
        table.add_column(name, justify="left" if name == "contestant" else "right")
    ours = {
        (r["batch_size"], r["k"]): r["milliseconds"] for r in rows if r["contestant"] == "genmix"
    }
    for row in rows:
        ratio = row["milliseconds"] / ours[row["batch_size"], row["k"]]
        table.add_row(
            str(row["batch_size"]),
            str(row["k"]),
            row["contestant"],
            f"{row['milliseconds']:.3f}",
            f"{100 * row['spread']:.0f} %",
            f"{100 * row['of_peak']:.0f} %",
            f"{ratio:.2f} x as fast",
            f"{row['set_up_seconds']:.1f} s",
        )
    Console().print(table)


def print_nll(rows: list[dict[str, Any]], memory: float, config: Config) -> None:
    title = (
        f"NLL of {config.nll_images} images, k = {config.nll_particles}; genmix's takes "
        f"{memory:.0f} MiB above idle"
    )
    table = Table("contestant", "seconds", "spread", "genmix is", title=title)
    for row in rows:
        ratio = row["seconds"] / rows[0]["seconds"]
        spread = f"{100 * row['spread']:.0f} %"
        table.add_row(row["contestant"], f"{row['seconds']:.2f}", spread, f"{ratio:.2f} x as fast")
    Console().print(table)


def main(config: Config) -> None:
    if "hand-written PyTorch" in available(["hand-written PyTorch"]):
        import torch

        torch.set_num_threads(config.threads)
    peak = matmul_peak()
    steps = [
        row
        for batch_size in config.batch_sizes
        for k in config.k
        for row in time_steps(config, batch_size, k, peak)
    ]
    print_steps(steps, peak)
    nll, memory = (time_nll(config), nll_memory(config)) if config.nll_images else ([], 0.0)
    if nll:
        print_nll(nll, memory, config)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    run_directory.write_json(
        config.out,
        {
            "steps": steps,
            "nll": nll,
            "nll_mib_above_idle": memory,
            "peak_gflops": peak,
            "versions": run_directory.versions(),
            "git_commit": run_directory.git_commit(),
        },
    )
    print(f"written to {config.out}")


if __name__ == "__main__":
    command_line.run(main, Config)
