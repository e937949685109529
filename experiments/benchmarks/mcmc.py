"""Transitions a second of many chains beside peers: python -m experiments.benchmarks.mcmc.

Each contestant runs the same kernel with the same settings from the same positions in one compiled
loop that keeps the last state alone. Quality: effective draws, and means, of stored runs.
"""

import dataclasses
import itertools
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from rich.console import Console
from rich.table import Table

from experiments.benchmarks import mcmc_peers
from experiments.benchmarks.iwae import interleave
from experiments.benchmarks.mcmc_peers import LEAPFROG, Case, Kernel, Peer
from genmix import mcmc, sharding
from genmix.mcmc.engine.layout import Layout, chains_last
from genmix.runs import command_line, run_directory

Target = Literal["banana", "gaussian-10", "gaussian-100", "logistic"]
Run = Callable[[int], None]
"""Runs that many calls of `num_steps` transitions and waits for the last."""

ALONE = "target alone"
SIZES: dict[str, dict[str, float]] = {
    "banana": {"random-walk": 1.5, "mala": 0.4, "hmc": 0.3},
    "gaussian-10": {"random-walk": 0.5, "mala": 0.15, "hmc": 0.3},
    "gaussian-100": {"random-walk": 0.1, "mala": 0.05, "hmc": 0.15},
    "logistic": {"random-walk": 0.02, "mala": 0.001, "hmc": 0.02},
}
"""Step sizes, the same for all contestants."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Contestants that are not installed are left out; `pip install -e .[bench]` brings them."""

    targets: tuple[Target, ...] = ("banana", "gaussian-10", "gaussian-100", "logistic")
    kernels: tuple[Kernel, ...] = ("random-walk", "mala", "hmc")
    chains: tuple[int, ...] = (1, 64, 1024, 8192)
    repeats: int = 5
    """Interleaved measurements of each contestant."""
    seconds: float = 0.3
    """Length of one measurement, about."""
    forced: tuple[Layout, ...] = ("first", "last")
    """Layouts of chains to force, beside the one that genmix chooses."""
    stored_draws: int = 1000
    """Draws of each of 64 chains that the quality is judged by; 0 leaves that out."""
    devices: int = 1
    """Virtual CPU devices that the chains of all contestants are split over."""
    seed: int = 0
    out: Path = Path("runs/benchmarks/mcmc.json")

    def __post_init__(self):
        for name in ("targets", "kernels", "chains"):
            if not getattr(self, name):
                raise ValueError(f"{name} needs at least one entry, got none.")
        if min(self.chains) < 1 or self.repeats < 1 or not self.seconds > 0:
            raise ValueError("chains, repeats and seconds must be positive.")
        if self.devices < 1 or any(chains % self.devices for chains in self.chains):
            raise ValueError(
                f"chains must be multiples of devices, got {self.chains} and {self.devices}."
            )


def banana(x: jax.Array) -> jax.Array:
    return -0.5 * (x[0] ** 2 / 4 + (x[1] - 0.25 * x[0] ** 2) ** 2)


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """Zero mean and the covariance rho^|i - j|."""

    dim: int
    rho: float = 0.5

    def __call__(self, x: jax.Array) -> jax.Array:
        index = np.arange(self.dim)
        covariance = self.rho ** np.abs(index[:, None] - index[None])
        precision = jnp.asarray(np.linalg.inv(covariance), jnp.float32)
        return -0.5 * x @ (precision @ x)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Logistic:
    """Posterior of logistic regression with 1,000 examples and 24 features."""

    features: jax.Array
    labels: jax.Array

    def __call__(self, weights: jax.Array) -> jax.Array:
        logits = self.features @ weights
        return jnp.sum(self.labels * logits - jax.nn.softplus(logits)) - 0.5 * jnp.sum(weights**2)


def problem(name: Target) -> tuple[Any, int]:
    """Log-density and number of dimensions."""
    if name == "banana":
        return banana, 2
    if name != "logistic":
        dim = int(name.removeprefix("gaussian-"))
        return Gaussian(dim), dim
    rng = np.random.default_rng(0)
    features = rng.normal(size=(1000, 24)).astype(np.float32)
    truth = rng.normal(size=24).astype(np.float32)
    labels = rng.random(1000) < 1 / (1 + np.exp(-features @ truth))
    return Logistic(jnp.asarray(features), jnp.asarray(labels, jnp.float32)), 24


def genmix_kernel(case: Case) -> Any:
    if case.kernel == "hmc":
        return mcmc.hmc.build(case.logdensity_fn, case.step_size, LEAPFROG)
    build = mcmc.mala.build if case.kernel == "mala" else mcmc.random_walk.build
    return build(case.logdensity_fn, case.step_size)


def genmix_run(case: Case, layout: Any) -> Run:
    kernel = genmix_kernel(case)
    held = [mcmc.start(jax.random.key(case.seed), kernel, case.positions)]

    def run(calls: int) -> None:
        for _ in range(calls):
            held[0], _ = mcmc.advance(held[0], kernel, num_steps=case.num_steps, layout=layout)
        jax.block_until_ready(held[0])

    return run


def peer_run(case: Case, peer: Peer) -> Run:
    """Its chains inside one scan that keeps the last state alone."""

    @jax.jit
    def many(state, key):
        one = lambda state, key: (peer.step(key, state), None)
        return jax.lax.scan(one, state, jax.random.split(key, case.num_steps))[0]

    held: list[Any] = [peer.state, 0]

    def run(calls: int) -> None:
        for _ in range(calls):
            held[1] += 1
            held[0] = many(held[0], jax.random.key(held[1]))
        jax.block_until_ready(held[0])

    return run


def target_run(case: Case) -> Run:
    """The evaluations of the target that one transition needs, alone, in genmix's layout."""
    kernel = genmix_kernel(case)
    chains = mcmc.start(jax.random.key(case.seed), kernel, case.positions)
    axis = -1 if chains_last("auto", chains, kernel) else 0
    move = lambda x, by: x + 1e-6 * by
    value = jax.vmap(case.logdensity_fn, in_axes=axis)
    gradient = jax.vmap(jax.grad(case.logdensity_fn), in_axes=axis, out_axes=axis)
    both = jax.vmap(jax.value_and_grad(case.logdensity_fn), in_axes=axis, out_axes=(0, axis))
    along = (lambda v: v) if axis == -1 else (lambda v: v[:, None])

    def one(x, _):
        if case.kernel == "random-walk":
            return move(x, along(value(x))), None
        if case.kernel == "hmc":
            x = jax.lax.fori_loop(0, LEAPFROG - 1, lambda _, x: move(x, gradient(x)), x)
        v, g = both(x)
        return move(x, g + 1e-6 * along(v)), None

    many = jax.jit(lambda x: jax.lax.scan(one, x, length=case.num_steps)[0])
    x = case.positions.T if axis == -1 else case.positions

    def run(calls: int) -> None:
        for _ in range(calls):
            many(x).block_until_ready()

    return run


def contestants(config: Config, case: Case) -> dict[str, Callable[[], Run]]:
    """genmix, in each layout too, the bare target, and the peers that are installed."""
    found: dict[str, Callable[[], Run]] = {
        "genmix": lambda: genmix_run(case, "auto"),
        ALONE: lambda: target_run(case),
    }
    for layout in config.forced:
        found[f"genmix, {layout}"] = lambda layout=layout: genmix_run(case, layout)
    for name, chains in mcmc_peers.installed(case.kernel).items():
        found[name] = lambda chains=chains: peer_run(case, chains(case))
    return found


def stored_draws(case: Case, num_draws: int) -> dict[str, jax.Array]:
    """Draws [chains, num_draws, dim] of each contestant after as many of burn-in."""
    kernel = genmix_kernel(case)
    chains = mcmc.start(jax.random.key(case.seed), kernel, case.positions)
    chains, _ = mcmc.advance(chains, kernel, num_steps=num_draws)
    draws = {"genmix": mcmc.sample(chains, kernel, num_draws=num_draws)[1].position}
    for name, chains_of in mcmc_peers.installed(case.kernel).items():
        peer = chains_of(case)

        @jax.jit
        def many(state, key, peer=peer):
            def one(state, key):
                state = peer.step(key, state)
                return state, peer.position(state)

            return jax.lax.scan(one, state, jax.random.split(key, 2 * num_draws))[1]

        positions = many(peer.state, jax.random.key(case.seed))
        draws[name] = jnp.moveaxis(positions[num_draws:], 1, 0)
    return draws


def quality(config: Config, target: Target, kernel: Kernel) -> list[dict[str, Any]]:
    """Effective draws for each draw, and how far the means lie from genmix's in standard errors."""
    draws = stored_draws(case_of(config, target, kernel, 64), config.stored_draws)
    means = {name: jnp.mean(x, axis=(0, 1)) for name, x in draws.items()}
    errors = {name: mcmc.diagnostics.mcse(x) for name, x in draws.items()}
    return [
        {
            "target": target,
            "kernel": kernel,
            "contestant": name,
            "ess_per_draw": float(jnp.min(mcmc.diagnostics.ess_mean(x))) / x[:, :, 0].size,
            "largest_z": float(
                jnp.max(
                    jnp.abs(means[name] - means["genmix"])
                    / jnp.hypot(errors[name], errors["genmix"])
                )
            ),
        }
        for name, x in draws.items()
    ]


def case_of(config: Config, target: Target, kernel: Kernel, chains: int) -> Case:
    logdensity_fn, dim = problem(target)
    positions = jax.random.normal(jax.random.key(config.seed), (chains, dim)) * 0.1
    if config.devices > 1:
        layout = NamedSharding(jax.sharding.get_mesh(), PartitionSpec("chain"))
        positions = jax.device_put(positions, layout)
    transitions = 10_000 if target == "logistic" else 100_000
    num_steps = max(20, min(1000, transitions // chains))
    return Case(logdensity_fn, positions, kernel, SIZES[target][kernel], num_steps, config.seed)


def time_case(config: Config, target: Target, kernel: Kernel, chains: int) -> list[dict[str, Any]]:
    case = case_of(config, target, kernel, chains)
    runs, calls, set_up = {}, {}, {}
    for name, make in contestants(config, case).items():
        begin = time.perf_counter()
        run = make()
        run(1)
        set_up[name] = time.perf_counter() - begin
        begin = time.perf_counter()
        run(1)
        calls[name] = max(1, round(config.seconds / (time.perf_counter() - begin)))
        runs[name] = run
    seconds = interleave(runs, config.repeats, calls)
    return [
        {
            "target": target,
            "kernel": kernel,
            "chains": chains,
            "contestant": name,
            "transitions_per_second": case.num_steps * chains / statistics.median(values),
            "spread": (max(values) - min(values)) / statistics.median(values),
            "set_up_seconds": set_up[name],
        }
        for name, values in seconds.items()
    ]


def with_ess(speeds: list[dict[str, Any]], qualities: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Effective draws a second, of the coordinate that has the fewest, beside the transitions."""
    key = lambda row: (row["target"], row["kernel"], row["contestant"].split(",")[0])
    each = {key(row): row["ess_per_draw"] for row in qualities}
    return [
        row | {"min_ess_per_second": row["transitions_per_second"] * each[key(row)]}
        if key(row) in each
        else row
        for row in speeds
    ]


def print_speeds(rows: list[dict[str, Any]]) -> None:
    title = (
        "millions of transitions a second; genmix against the best peer; the target's share; "
        "millions of effective draws a second"
    )
    peers = [name for name in dict.fromkeys(row["contestant"] for row in rows) if name != ALONE]
    table = Table("target", "kernel", "chains", *peers, "ratio", "target", "ESS", title=title)
    key = lambda row: (row["target"], row["kernel"], row["chains"])
    for (target, kernel, chains), cell in itertools.groupby(rows, key):
        group = list(cell)
        speeds = {row["contestant"]: row["transitions_per_second"] for row in group}
        theirs = [v for n, v in speeds.items() if n != ALONE and not n.startswith("genmix")]
        best = max(theirs, default=math.nan)
        cells = [f"{speeds[name] / 1e6:.3g}" if name in speeds else "" for name in peers]
        share = f"{100 * speeds['genmix'] / speeds[ALONE]:.0f} %"
        effective = {row["contestant"]: row.get("min_ess_per_second") for row in group}
        ess = effective["genmix"]
        cells += f"{speeds['genmix'] / best:.2f}", share, "" if ess is None else f"{ess / 1e6:.3g}"
        table.add_row(target, kernel, f"{chains}", *cells)
    Console(width=140).print(table)


def print_quality(rows: list[dict[str, Any]]) -> None:
    title = "effective draws for each draw; mean's distance from genmix's in standard errors"
    table = Table("target", "kernel", "contestant", "ESS / draw", "|z|", title=title)
    for row in rows:
        cells = f"{row['ess_per_draw']:.3g}", f"{row['largest_z']:.1f}"
        table.add_row(row["target"], row["kernel"], row["contestant"], *cells)
    Console().print(table)


def main(config: Config) -> None:
    if config.devices > 1:
        jax.config.update("jax_num_cpu_devices", config.devices)
        jax.set_mesh(sharding.make_mesh(chain=config.devices))
    speeds, qualities = [], []
    for target, kernel in itertools.product(config.targets, config.kernels):
        for chains in config.chains:
            speeds += time_case(config, target, kernel, chains)
        if config.stored_draws:
            qualities += quality(config, target, kernel)
        print(f"{target}, {kernel}: done", flush=True)
    speeds = with_ess(speeds, qualities)
    print_speeds(speeds)
    if qualities:
        print_quality(qualities)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    run_directory.write_json(
        config.out,
        {
            "speeds": speeds,
            "quality": qualities,
            "devices": config.devices,
            "versions": run_directory.versions(),
            "git_commit": run_directory.git_commit(),
        },
    )
    print(f"written to {config.out}")


if __name__ == "__main__":
    command_line.run(main, Config)
