"""MCMC on targets in the plane: acceptance, R-hat, ESS and pictures: python -m experiments.mcmc.

Annealed importance sampling and sequential Monte Carlo find the ring's normalizer, which is known.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import study
from experiments.plane.targets import LOG_Z_RING, MEANS, TARGETS, ring
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
from genmix.runs import command_line

Target = Literal["normal", "banana", "ring", "modes"]
Sampler = Literal["random-walk", "langevin", "mala", "hmc"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.Settings):
    """Each sampler is warmed up and run on each target; defaults take about a minute."""

    target: study.Each[Target] = ("normal", "banana", "ring", "modes")
    sampler: study.Each[Sampler] = ("random-walk", "langevin", "mala", "hmc")
    chains: study.Count = 16
    warmup: Annotated[int, study.at_least(20)] = 500
    """Steps that adapt step size and covariance, then as many that are thrown away."""
    draws: Annotated[int, study.at_least(4)] = 2000
    thinning: study.Count = 1
    leapfrog: study.Count = 10
    """Leapfrog steps of HMC."""
    particles: Annotated[int, study.at_least(32)] = 4000
    """Of annealed importance sampling, and of 16 runs of sequential Monte Carlo together."""
    mesh: str | None = None
    """Devices to split the chains over, such as chain=2; one if not given."""


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


class Run(NamedTuple):
    """Figures of one sampler on one target, and its draws [chains, draws, 2]."""

    figures: dict[str, Any]
    draws: np.ndarray


def run(config: Config, name: str, sampler: str) -> Run:
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
    return Run(figures, np.asarray(draws.position))


RUNS = 16
"""Of sequential Monte Carlo, whose spread is its error."""


def to_the_ring() -> bridge.Path:
    """From a standard normal."""
    move = lambda logdensity_fn, beta: hmc.build(logdensity_fn, 0.5 - 0.3 * beta, 3)
    return bridge.Geometric(StandardNormal(2), ring, move)


def weight(key: jax.Array) -> jax.Array:
    """One log-weight of annealed importance sampling for the ring."""
    return annealed_importance.run(key, to_the_ring(), bridge.sigmoidal(60)).log_weight


def population(key: jax.Array, size: int) -> jax.Array:
    """One estimate by sequential Monte Carlo for the ring."""
    return sequential_monte_carlo.run(
        key, to_the_ring(), bridge.linear(20), num_particles=size, threshold=0.8
    ).log_evidence


def normalize(config: Config, method: str) -> dict[str, float]:
    """Log Z of the ring, in nats, from a standard normal, and its standard error."""
    if method == "AIS":
        keys = jax.random.split(config.key, config.particles)
        log_weights = jax.jit(jax.vmap(weight))(keys)
    else:
        keys = jax.random.split(jax.random.key(config.seed + 1), RUNS)
        one = lambda key: population(key, config.particles // RUNS)
        log_weights = jax.jit(jax.vmap(one))(keys)
    estimate = importance.log_evidence(log_weights)
    return {"log_z": float(estimate.value), "error": float(estimate.standard_error)}


def draw(out: Path, results: Sequence[study.Result]) -> None:
    """Traces of the first chain for each target, and draws of all chains for each sampler."""
    runs = [result for result in results if isinstance(result.model, Run)]
    for name in dict.fromkeys(result.row["target"] for result in runs):
        of_target = [result for result in runs if result.row["target"] == name]
        first = {it.row["sampler"]: it.model.draws[0, :200, 0] for it in of_target}
        traces = {sampler: (np.arange(len(x)), x) for sampler, x in first.items()}
        pictures.save_curves(
            out / f"{name}-traces.png", traces, x_label="draw", y_label="x1", y_quantile=0.0
        )
        for result in of_target:
            x = result.model.draws
            cloud = x[:, :: max(1, x.shape[0] * x.shape[1] // 4000)].reshape(-1, 2)
            place = out / f"{name}-{result.row['sampler']}.png"
            pictures.save_scatter(place, cloud, x_label="x1", y_label="x2")


def experiment(config: Config) -> study.Study:
    samplers = [
        study.Computation(
            name=f"{name}, {sampler}",
            row={"target": name, "sampler": sampler},
            compute=lambda _, name=name, sampler=sampler: run(config, name, sampler),
        )
        for name in config.target
        for sampler in config.sampler
    ]
    normalizers = [
        study.Computation(
            name=method,
            row={"method": method, "exact": LOG_Z_RING},
            compute=lambda _, method=method: normalize(config, method),
        )
        for method in ("AIS", "SMC")
    ]
    columns = {
        "target": "{target}",
        "sampler": "{sampler}",
        "step": "{step_size:.3g}",
        "acc.": "{acceptance:.2f}",
        "R-hat": "{r_hat:.3f}",
        "bulk ESS": "{ess_bulk:.0f}",
        "tail ESS": "{ess_tail:.0f}",
        "steps/s": "{steps_per_second:.2g}",
    }
    log_z = {"": "{method}", "log Z": "{log_z:.4f}", "±": "{error:.4f}", "exact": "{exact:.4f}"}
    title = "{chains} chains, {draws} draws each; the worse of two coordinates"
    return study.Study(
        variants=[*samplers, *normalizers],
        measure=lambda it: it.model.figures if isinstance(it.model, Run) else it.model,
        draw=draw,
        tables=[
            study.Table(title, columns, study.having("target")),
            study.Table("log Z of the ring, {particles} particles", log_z, study.having("method")),
        ],
        units="steps of one chain per second; means in the target's coordinates",
        mesh=sharding.parse(config.mesh, ("chain",)) if config.mesh else None,
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("mcmc", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
