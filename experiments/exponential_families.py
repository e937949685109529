"""Duality and moment matching: python -m experiments.exponential_families.

The standard families first, then a Boltzmann machine of some pixels of the digits, fitted by moment
matching with exact expectations and with those of Gibbs chains.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import study
from experiments.boltzmann import pixels
from genmix.densities import exponential_families, moment_matching
from genmix.densities.exponential_family import ExponentialFamily, inner
from genmix.evaluation import baselines, pictures
from genmix.runs import command_line


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.Settings):
    """Defaults take about a minute on two CPU cores."""

    draws: study.Count = 1_000
    """Of each family, to fit it to."""
    steps: study.Count = 1_000
    """Of moment matching for each family."""
    samples: study.Count = 10
    """Draws for an expectation by Monte Carlo."""
    boltzmann_steps: study.Count = 5_000
    chains: study.Count = 100
    """Of Gibbs sampling for the Boltzmann machine."""


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


class Fits(NamedTuple):
    """One family: figures of its parameters and their duality, and of fits to the same draws."""

    figures: dict[str, Any]
    gaps: dict[str, np.ndarray]  # |mu - E[T]| after each step, by the kind of expectation


def fits(config: Config, name: str) -> Fits:
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
    figures = {
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
        figures[f"kl_{kind.split()[0].lower()}"] = float(family.kl(natural, found))
        gaps[kind] = np.asarray(match.gap)
    return Fits(figures, gaps)


def windows(gap: np.ndarray) -> tuple[list[float], list[float]]:
    """Means over windows of steps, each half as long again as the one before."""
    starts = np.unique(np.geomspace(1, len(gap), 18)[:-1].astype(int)) - 1
    counts = np.diff(np.append(starts, len(gap)))
    return (starts + 1.0).tolist(), (np.add.reduceat(gap, starts) / counts).tolist()


def draw(out: Path, results: Sequence[study.Result]) -> None:
    """|mu - E[T]| on the way, and the maps from natural to mean parameters of scalar families."""
    gaps = {it.row["family"]: it.model.gaps for it in results if "family" in it.row}
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


def measure(result: study.Result) -> dict[str, Any]:
    if isinstance(result.model, Fits):
        return result.model.figures
    return baselines.row(result.row["model"], result.model)


def listed(values: str) -> Callable[[study.Row], str]:
    return lambda row: ", ".join(f"{value:.3g}" for value in row[values])


def experiment(config: Config) -> study.Study:
    """The families, which have two tables, and the machines, which have one."""
    families = [
        study.Computation(
            name=name, row={"family": name}, compute=lambda _, name=name: fits(config, name)
        )
        for name in FAMILIES
    ]
    machines = [
        study.Computation(
            name=f"Boltzmann machine, {kind}",
            row={"model": f"Boltzmann machine, {kind}"},
            compute=lambda _, kind=kind: pixels.fit(
                config.key, kind, steps=config.boltzmann_steps, num_chains=config.chains
            ),
        )
        for kind in ("exact", "Gibbs chains")
    ]
    parameters = {
        "family": "{family}",
        "θ": listed("natural"),
        "μ": listed("mean"),
        "A(θ)": "{log_partition:.4f}",
        "-A*(μ)": "{entropy:.4f}",
        "A+A*-<θ,μ>": "{duality_gap:.0e}",
        "θ(μ)-θ": "{round_trip:.0e}",
    }
    divergences = {
        "family": "{family}",
        "closed form": "{kl_closed:.5f}",
        "exact gradients": "{kl_exact:.5f}",
        "Monte Carlo gradients": "{kl_monte:.5f}",
    }
    nll = {
        "model": "{model}",
        "NLL": "{nll:.3f}",
        "±": "{nll_standard_error:.3f}",
        "seconds": "{seconds:.1f}",
    }
    independent = baselines.row(
        "independent pixels", baselines.independent_bernoulli(*pixels.pixels())
    )
    truth = "KL in nats from the truth to fits to {draws} draws"
    return study.Study(
        variants=[*families, *machines],
        before=[independent],
        measure=measure,
        draw=draw,
        tables=[
            study.Table(
                "exponential families: natural and mean parameters, in nats",
                parameters,
                study.having("family"),
            ),
            study.Table(truth, divergences, study.having("family")),
            study.Table(
                "twelve pixels of the digits: nats per test image", nll, study.having("model")
            ),
        ],
        units="nats; seconds, compilation included",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("exponential_families", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
