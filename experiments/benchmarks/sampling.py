"""Cached sampling beside a full pass for each pixel: python -m experiments.benchmarks.sampling.

Both draw the same images from the same keys. The naive sampler runs the whole network once for each
pixel; as all its passes cost the same, only the first few are timed.
"""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from rich.console import Console
from rich.table import Table

from genmix.densities import bernoulli
from genmix.families import Autoregressive
from genmix.nets import MADE, NADE, DiagonalBiLSTM, GatedPixelCNN, RowLSTM, StepwiseMADE
from genmix.runs import command_line, run_directory

Network = Literal["made", "nade", "pixelcnn", "row-lstm", "bilstm"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Binary images, as large as MNIST's by default."""

    network: tuple[Network, ...] = ("made", "pixelcnn")
    side: int = 28
    images: int = 100
    passes: int = 8
    """Of the naive sampler that are timed."""
    repeats: int = 5
    """Interleaved measurements of each."""
    out: Path = Path("runs/benchmarks/sampling.json")

    def __post_init__(self):
        for name in ("side", "images", "passes", "repeats"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.passes > self.side**2:
            raise ValueError(f"passes must be at most {self.side**2}, got {self.passes}.")


def build(name: str, side: int) -> Autoregressive:
    """MADE with one layer of 1,000 units, PixelCNN with seven layers of width 32, or others."""
    rngs, dim, shape = nnx.Rngs(0), side * side, (side, side)
    networks: dict[str, Callable[[], Any]] = {
        "made": lambda: StepwiseMADE(MADE(dim, (1000,), rngs=rngs)),
        "nade": lambda: NADE(dim, 500, rngs=rngs),
        "pixelcnn": lambda: GatedPixelCNN(shape, 32, 7, rngs=rngs),
        "row-lstm": lambda: RowLSTM(shape, 16, 2, rngs=rngs),
        "bilstm": lambda: DiagonalBiLSTM(shape, 16, 2, rngs=rngs),
    }
    return Autoregressive(networks[name](), bernoulli.Bernoulli(), shape=(side, side, 1))


def naive(model: Autoregressive, key: jax.Array, passes: int) -> jax.Array:
    """The first so many pixels of `model.sample(key)`, by as many passes of the whole network."""

    def draw_pixel(i: int, x: jax.Array) -> jax.Array:
        numbers = model.numbers(x).reshape(x.size, -1)
        pixel = model.distribution.sample(jax.random.fold_in(key, i), numbers[i])
        return x.reshape(-1).at[i].set(pixel).reshape(x.shape)

    return jax.lax.fori_loop(0, passes, draw_pixel, jnp.zeros(model.shape))


def time_network(config: Config, name: str) -> dict[str, Any]:
    model = build(name, config.side)
    keys = jax.random.split(jax.random.key(0), config.images)
    samplers = {
        "cached": jax.jit(lambda model, keys: jax.vmap(model.sample)(keys)),
        "naive": jax.jit(
            lambda model, keys: jax.vmap(functools.partial(naive, model, passes=config.passes))(
                keys
            )
        ),
        "pass": jax.jit(lambda model, x: jax.vmap(model.log_prob)(x)),
    }
    x = jax.block_until_ready(samplers["cached"](model, keys))
    seconds: dict[str, list[float]] = {sampler: [] for sampler in samplers}
    for repeat in range(config.repeats + 1):  # the first one compiles
        for sampler, run in samplers.items():
            begin = time.perf_counter()
            jax.block_until_ready(run(model, x if sampler == "pass" else keys))
            if repeat:
                seconds[sampler].append(time.perf_counter() - begin)
    median = {sampler: statistics.median(values) for sampler, values in seconds.items()}
    whole = median["naive"] * config.side**2 / config.passes
    return {
        "network": name,
        "pass_milliseconds": 1e3 * median["pass"] / config.images,
        "cached_milliseconds": 1e3 * median["cached"] / config.images,
        "naive_milliseconds": 1e3 * whole / config.images,
        "ratio": whole / median["cached"],
        "spread": {s: (max(v) - min(v)) / median[s] for s, v in seconds.items()},
    }


def main(config: Config) -> list[dict[str, Any]]:
    rows = [time_network(config, name) for name in config.network]
    title = f"milliseconds an image of {config.side} x {config.side} bits, {config.images} at once"
    table = Table("network", "a pass", "cached sample", "naive sample", "cached is", title=title)
    for row in rows:
        table.add_row(
            row["network"],
            f"{row['pass_milliseconds']:.3f}",
            f"{row['cached_milliseconds']:.2f}",
            f"{row['naive_milliseconds']:.1f}",
            f"{row['ratio']:.0f} x as fast",
        )
    Console().print(table)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    run_directory.write_json(
        config.out,
        {
            "rows": rows,
            "images": config.images,
            "versions": run_directory.versions(),
            "git_commit": run_directory.git_commit(),
        },
    )
    print(f"written to {config.out}")
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
