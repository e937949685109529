"""MCMC on targets in the plane: acceptance, R-hat, ESS and pictures: python -m experiments.mcmc.

Annealed importance sampling and sequential Monte Carlo find the ring's normalizer, which is known.
"""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from genmix import mcmc, sharding
from genmix.evaluation import pictures
from genmix.families import StandardNormal
from genmix.mcmc import (
    annealed_importance,
    bridge,
    diagnostics,
    hmc,
    importance,
    langevin,
    mala,
    random_walk,
    sequential_monte_carlo,
    warmup,
)
from genmix.runs import command_line, run_directory

Target = Literal["normal", "banana", "ring", "modes"]
Sampler = Literal["random-walk", "langevin", "mala", "hmc"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Each sampler is warmed up and run on each target; defaults take about a minute."""

    target: tuple[Target, ...] = ("normal", "banana", "ring", "modes")
    sampler: tuple[Sampler, ...] = ("random-walk", "langevin", "mala", "hmc")
    chains: int = 16
    warmup: int = 500
    """Steps that adapt step size and covariance, then as many that are thrown away."""
    draws: int = 2000
    thinning: int = 1
    leapfrog: int = 10
    """Leapfrog steps of HMC."""
    particles: int = 4000
    """Of annealed importance sampling, and of 16 runs of sequential Monte Carlo together."""
    seed: int = 0
    out: Path | None = None
    """Directory of the run; runs/mcmc/TIME if not given."""
    mesh: str | None = None
    """Devices to split the chains over, such as chain=2; one if not given."""

    def __post_init__(self):
        least = {"chains": 1, "warmup": 20, "draws": 4, "thinning": 1, "leapfrog": 1}
        command_line.require(self, at_least=least | {"particles": 32})


def normal(x):
    """Correlation 0.9."""
    return -0.5 * (x[0] ** 2 + x[1] ** 2 - 1.8 * x[0] * x[1]) / 0.19


def banana(x):
    """x2 ~ N(0, 4), x1 ~ N(x2^2 / 4, 1)."""
    return -0.5 * ((x[0] - x[1] ** 2 / 4) ** 2 + x[1] ** 2 / 4)


def ring(x):
    """Rezende & Mohamed's first test density."""
    radius = jnp.sqrt(jnp.sum(x**2) + 1e-12)
    sides = jnp.logaddexp(-0.5 * ((x[0] - 2) / 0.6) ** 2, -0.5 * ((x[0] + 2) / 0.6) ** 2)
    return sides - 0.5 * ((radius - 2) / 0.4) ** 2


def modes(x):
    """Two normals, 6 apart: chains that start in one seldom find the other."""
    left, right = jnp.sum((x + 3 / math.sqrt(2)) ** 2), jnp.sum((x - 3 / math.sqrt(2)) ** 2)
    return jnp.logaddexp(-0.5 * left, -0.5 * right)


TARGETS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "normal": normal,
    "banana": banana,
    "ring": ring,
    "modes": modes,
}
MEANS = {"normal": (0.0, 0.0), "banana": (1.0, 0.0), "ring": (0.0, 0.0), "modes": (0.0, 0.0)}
LOG_Z_RING = 1.8775
"""By quadrature."""
ACCEPTANCE = {"random-walk": 0.3, "mala": 0.574, "hmc": 0.8}


def build(config: Config, sampler: str, target: Callable[[jax.Array], jax.Array]) -> Any:
    match sampler:
        case "random-walk":
            return random_walk.build(target, 0.5)
        case "langevin":
            return langevin.build(target, 0.02)
        case "mala":
            return mala.build(target, 0.1)
        case _:
            return hmc.build(target, 0.1, config.leapfrog)


def run(config: Config, name: str, sampler: str) -> tuple[dict[str, Any], np.ndarray]:
    """Figures of one sampler on one target, and its draws [chains, draws, 2]."""
    kernel = build(config, sampler, TARGETS[name])
    place_key, chain_key = jax.random.split(jax.random.key(config.seed))
    places = 2 * jax.random.normal(place_key, (config.chains, 2))
    chains = mcmc.start(chain_key, kernel, places)
    if sampler in ACCEPTANCE:  # Langevin accepts all: there is nothing to adapt to
        chains, kernel, _ = warmup.run(
            chains, kernel, num_steps=config.warmup, target_acceptance=ACCEPTANCE[sampler]
        )
    chains, _ = mcmc.advance(chains, kernel, num_steps=config.warmup)
    options: dict[str, Any] = {"num_draws": config.draws, "thinning": config.thinning}
    jax.block_until_ready(mcmc.sample(chains, kernel, **options))  # compiles
    begin = time.perf_counter()
    _, draws = jax.block_until_ready(mcmc.sample(chains, kernel, **options))
    seconds = time.perf_counter() - begin
    report = diagnostics.report(draws.position)
    steps = config.draws * config.thinning * config.chains
    figures = {
        "target": name,
        "sampler": sampler,
        "acceptance": float(jnp.mean(draws.info["acceptance_rate"])),
        "step_size": float(kernel.step_size),
        "r_hat": float(jnp.max(report.r_hat)),
        "ess_bulk": float(jnp.min(report.ess_bulk)),
        "ess_tail": float(jnp.min(report.ess_tail)),
        "mean": np.asarray(report.mean).tolist(),
        "mcse": np.asarray(report.mcse).tolist(),
        "exact_mean": list(MEANS[name]),
        "divergent": float(jnp.mean(draws.info["is_divergent"])),
        "steps_per_second": steps / seconds,
    }
    return figures, np.asarray(draws.position)


def normalize(config: Config) -> list[dict[str, Any]]:
    """Log Z of the ring, in nats, by paths and by populations from a standard normal."""
    base = StandardNormal(2)
    make = lambda logdensity_fn, beta: hmc.build(logdensity_fn, 0.5 - 0.3 * beta, 3)
    runs = 16

    def path(key):
        schedule = bridge.sigmoidal(60)
        return annealed_importance.run(key, base, ring, make, schedule).log_weight

    def population(key):
        size, schedule = config.particles // runs, bridge.linear(20)
        result = sequential_monte_carlo.run(
            key, base, ring, make, schedule, num_particles=size, threshold=0.8
        )
        return result.log_evidence

    rows = []
    methods = ("AIS", path, config.particles), ("SMC", population, runs)
    for i, (name, method, count) in enumerate(methods):
        keys = jax.random.split(jax.random.key(config.seed + i), count)
        estimate = importance.log_evidence(jax.jit(jax.vmap(method))(keys))
        figures = {"log_z": float(estimate.value), "error": float(estimate.standard_error)}
        rows.append({"method": name, "exact": LOG_Z_RING} | figures)
    return rows


def save_pictures(out: Path, name: str, draws: dict[str, np.ndarray]) -> None:
    """Traces of the first chain, and draws of all chains, for each sampler."""
    first = {sampler: x[0, :200, 0] for sampler, x in draws.items()}
    traces = {sampler: (np.arange(len(x)), x) for sampler, x in first.items()}
    pictures.save_curves(
        out / f"{name}-traces.png", traces, x_label="draw", y_label="x1", y_quantile=0.0
    )
    for sampler, x in draws.items():
        cloud = x[:, :: max(1, x.shape[0] * x.shape[1] // 4000)].reshape(-1, 2)
        pictures.save_scatter(out / f"{name}-{sampler}.png", cloud, x_label="x1", y_label="x2")


def print_table(config: Config, rows: list[dict[str, Any]]) -> None:
    command_line.print_table(
        f"{config.chains} chains, {config.draws} draws each; the worse of two coordinates",
        {
            "target": "{target}",
            "sampler": "{sampler}",
            "step": "{step_size:.3g}",
            "acc.": "{acceptance:.2f}",
            "R-hat": "{r_hat:.3f}",
            "bulk ESS": "{ess_bulk:.0f}",
            "tail ESS": "{ess_tail:.0f}",
            "steps/s": "{steps_per_second:.2g}",
        },
        rows,
    )


def run_all(config: Config, out: Path) -> list[dict[str, Any]]:
    rows = []
    for name in config.target:
        draws = {}
        for sampler in config.sampler:
            row, draws[sampler] = run(config, name, sampler)
            rows.append(row)
        save_pictures(out, name, draws)
    return rows


def main(config: Config) -> list[dict[str, Any]]:
    begin = time.perf_counter()
    mesh = sharding.parse(config.mesh, ("chain",)) if config.mesh else None
    out = run_directory.begin("mcmc", config, local=("out", "mesh"))
    with contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh):
        rows = run_all(config, out)
    print_table(config, rows)
    log_z = normalize(config)
    command_line.print_table(
        f"log Z of the ring, {config.particles} particles",
        {"": "{method}", "log Z": "{log_z:.4f}", "±": "{error:.4f}", "exact": "{exact:.4f}"},
        log_z,
    )
    run_directory.write_results(
        out,
        begin,
        units="steps of one chain per second; means in the target's coordinates",
        rows=rows,
        log_z=log_z,
        seed=config.seed,
    )
    command_line.print_paths(out, "*.png")
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
