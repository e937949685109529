"""Duality and moment matching: python -m experiments.exponential_families.

The standard families first, then a Boltzmann machine of some pixels of the digits, fitted by moment
matching with exact expectations and with those of Gibbs chains.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genmix.data.binarization import binarize_once
from genmix.data.digits import grey_digits
from genmix.densities import exponential_families, moment_matching
from genmix.densities.exponential_family import ExponentialFamily, inner
from genmix.evaluation import baselines, pictures
from genmix.mcmc import binary_gibbs
from genmix.runs import command_line, run_directory

NUM_TRAIN = 1_437
"""Images to train on, as in genmix.data.digits; the other 360 are to test on."""
PATCH = np.s_[:, 2:6, 2:5, 0]
"""The pixels of the Boltzmann machine: twelve, so that all 4,096 states can be summed over."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Defaults take about a minute on two CPU cores."""

    draws: int = 1_000
    """Of each family, to fit it to."""
    steps: int = 1_000
    """Of moment matching for each family."""
    samples: int = 10
    """Draws for an expectation by Monte Carlo."""
    boltzmann_steps: int = 5_000
    chains: int = 100
    """Of Gibbs sampling for the Boltzmann machine."""
    seed: int = 0
    out: Path | None = None
    """Directory of the run; runs/exponential_families/TIME if not given."""

    def __post_init__(self):
        counts = ("draws", "steps", "samples", "boltzmann_steps", "chains")
        command_line.require(self, counts=counts)


FAMILIES: dict[str, tuple[ExponentialFamily, tuple[Any, ...], Any, float]] = {
    "Bernoulli": (exponential_families.bernoulli, (1.2,), 0.0, 4.0),
    "Poisson": (exponential_families.poisson, (3.0,), 0.0, 0.3),
    "exponential": (exponential_families.exponential, (2.0,), -1.0, 0.5),
    "normal": (exponential_families.normal, (0.5, 1.2), (0.0, -0.5), 0.1),
    "gamma": (exponential_families.gamma, (2.0, 1.5), (0.5, -1.5), 0.3),
    "beta": (exponential_families.beta, (2.0, 1.5), (0.0, 0.0), 1.0),
}
"""Family, usual parameters, natural parameters to start from, size of the first step."""


def real(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, float), tree)


def largest(tree: Any) -> float:
    return max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(tree))


def study(config: Config, name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """One family: its parameters and their duality, and three fits to the same draws."""
    family, parameters, start, size = FAMILIES[name]
    natural = family.natural_from_parameters(*real(parameters))
    mean = family.mean_from_natural(natural)
    gap = family.log_partition(natural) + family.dual(mean) - inner(natural, mean)
    again = family.natural_from_mean(mean)
    keys = jax.random.split(jax.random.key(config.seed), 3)
    x = jax.vmap(family.sample, (0, None))(jax.random.split(keys[0], config.draws), natural)
    observed, closed = family.average_statistics(x), family.fit(x)
    expectations = {
        "exact": (moment_matching.exact(family), jnp.full(config.steps, size)),
        "Monte Carlo": (
            moment_matching.monte_carlo(family, config.samples),
            0.5 * size / jnp.sqrt(1.0 + jnp.arange(config.steps)),
        ),
    }
    row = {
        "family": name,
        "natural": jax.tree.map(float, jax.tree.leaves(natural)),
        "mean": jax.tree.map(float, jax.tree.leaves(mean)),
        "log_partition": float(family.log_partition(natural)),
        "entropy": float(family.entropy(natural)),
        "duality_gap": abs(float(gap)),
        "round_trip": largest(jax.tree.map(jnp.subtract, again, natural)),
        "kl_closed": float(family.kl(natural, closed)),
    }
    gaps = {}
    for (kind, (expectation, sizes)), key in zip(expectations.items(), keys[1:], strict=True):
        run = lambda key, mean, expectation=expectation, sizes=sizes: moment_matching.match(
            key, mean, real(start), expectation, sizes
        )
        match = jax.jit(run)(key, observed)
        found = match.natural if kind == "exact" else match.average
        row[f"kl_{kind.split()[0].lower()}"] = float(family.kl(natural, found))
        gaps[kind] = np.asarray(match.gap)
    return row, gaps


def boltzmann_states() -> jax.Array:
    bits = np.arange(2**12)[:, None] >> np.arange(12) & 1
    return jnp.asarray(bits, jnp.float32)


def couplings(raw: jax.Array) -> jax.Array:
    """Symmetric, with a zero diagonal."""
    return raw * (1 - jnp.eye(len(raw)))


def statistics(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """x and its products of pairs, averaged: theta is (bias, couplings)."""
    return jnp.mean(x, axis=0), couplings(x.T @ x / len(x)) / 2


def energies(natural: Any, x: jax.Array) -> jax.Array:
    """<theta, T(x)> of each x."""
    bias, weights = natural
    return x @ bias + 0.5 * jnp.sum((x @ weights) * x, axis=1)


def exact_expectation(key: Any, natural: Any, carry: Any) -> Any:
    del key
    x = boltzmann_states()
    p = jax.nn.softmax(energies(natural, x))
    return (p @ x, couplings(x.T @ (p[:, None] * x)) / 2), carry


def gibbs_expectation(key: Any, natural: Any, carry: Any) -> Any:
    kernel = binary_gibbs.build(natural[1], natural[0])
    one = lambda key, x: kernel.step(key, kernel.init(x))[0].position
    x = jax.vmap(one)(jax.random.split(key, len(carry)), carry)
    return statistics(x), x


def boltzmann(config: Config) -> list[dict[str, Any]]:
    """log p(x) of test pixels by machines fitted with either expectation, exactly normalized."""
    pixels = binarize_once(grey_digits(), 0)[PATCH].reshape(-1, 12)
    train, test = pixels[:NUM_TRAIN], pixels[NUM_TRAIN:]
    rows = [baselines.row("independent pixels", baselines.independent_bernoulli(train, test))]
    mean = statistics(jnp.asarray(train))
    sizes = jnp.linspace(0.15, 0.0, config.boltzmann_steps + 1)[:-1]
    chains = jnp.asarray(train[np.arange(config.chains) % NUM_TRAIN])
    start = jnp.zeros(12), jnp.zeros((12, 12))
    for name, expectation, carry in (
        ("exact", exact_expectation, ()),
        ("Gibbs chains", gibbs_expectation, chains),
    ):
        began = time.perf_counter()
        run = jax.jit(
            lambda key, carry, expectation=expectation: (
                moment_matching.match(key, mean, start, expectation, sizes, carry).natural
            )
        )
        natural = jax.block_until_ready(run(jax.random.key(config.seed), carry))
        seconds = time.perf_counter() - began
        log_z = jax.nn.logsumexp(energies(natural, boltzmann_states()))
        log_px = np.asarray(energies(natural, jnp.asarray(test)) - log_z)
        rows.append(baselines.row(f"Boltzmann machine, {name}", log_px) | {"seconds": seconds})
    return rows


def windows(gap: np.ndarray) -> tuple[list[float], list[float]]:
    """Means over windows of steps, each half as long again as the one before."""
    starts = np.unique(np.geomspace(1, len(gap), 18)[:-1].astype(int)) - 1
    counts = np.diff(np.append(starts, len(gap)))
    return (starts + 1.0).tolist(), (np.add.reduceat(gap, starts) / counts).tolist()


def draw(out: Path, gaps: dict[str, dict[str, np.ndarray]]) -> None:
    """|mu - E[T]| on the way, and the maps from natural to mean parameters of scalar families."""
    panels = {
        f"{kind} expectations": {name: windows(of_family[kind]) for name, of_family in gaps.items()}
        for kind in ("exact", "Monte Carlo")
    }
    pictures.save_log_panels(out / "gaps.png", panels, x_label="step", y_label="|mu - E[T]|")
    grids = {
        "Bernoulli": np.linspace(-4, 4, 200),
        "Poisson": np.linspace(-4, 1.2, 200),
        "exponential": np.linspace(-4, -0.3, 200),
    }
    curves = {}
    for name, grid in grids.items():
        means = jax.vmap(FAMILIES[name][0].mean_from_natural)(jnp.asarray(grid, jnp.float32))
        curves[name] = grid, np.asarray(means)
    pictures.save_curves(
        out / "means.png", curves, x_label="natural parameter", y_label="mean", y_quantile=0.0
    )


def main(config: Config) -> list[dict[str, Any]]:
    begin = time.perf_counter()
    out = run_directory.begin("exponential_families", config)
    rows, gaps = [], {}
    for name in FAMILIES:
        row, gaps[name] = study(config, name)
        rows.append(row)
    draw(out, gaps)
    shown = [
        row | {which: ", ".join(f"{v:.3g}" for v in row[which]) for which in ("natural", "mean")}
        for row in rows
    ]
    command_line.print_table(
        "exponential families: natural and mean parameters, in nats",
        {
            "family": "{family}",
            "θ": "{natural}",
            "μ": "{mean}",
            "A(θ)": "{log_partition:.4f}",
            "-A*(μ)": "{entropy:.4f}",
            "A+A*-<θ,μ>": "{duality_gap:.0e}",
            "θ(μ)-θ": "{round_trip:.0e}",
        },
        shown,
    )
    command_line.print_table(
        f"KL in nats from the truth to fits to {config.draws} draws",
        {
            "family": "{family}",
            "closed form": "{kl_closed:.5f}",
            "exact gradients": "{kl_exact:.5f}",
            "Monte Carlo gradients": "{kl_monte:.5f}",
        },
        rows,
    )
    pixels = boltzmann(config)
    command_line.print_table(
        "twelve pixels of the digits: nats per test image",
        {
            "model": "{model}",
            "NLL": "{nll:.3f}",
            "±": "{nll_standard_error:.3f}",
            "seconds": "{seconds:.1f}",
        },
        pixels,
    )
    run_directory.write_results(
        out, begin, units="nats; seconds, compilation included", rows=rows, boltzmann=pixels,
        seed=config.seed,
    )  # fmt: skip
    command_line.print_paths(out, "gaps.png", "means.png")
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
