"""Flows in the plane, fitted to energies and to points: python -m experiments.flows_2d.

Planar and radial flows of growing depth approach Rezende & Mohamed's energies U1 to U4 by the
reverse KL; every flow with a density is fitted to points. Defaults take minutes on two CPU cores.
"""

import dataclasses
import math
import time
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import rich.box
from rich.console import Console
from rich.table import Table

from experiments.plane.energies import ENERGIES, LOG_Z, grid, log_z_of_walled, walled
from experiments.plane.flows import (
    density_bijector,
    drawn,
    elementary,
    log_probs,
    member,
    stack,
)
from genmix import bijectors as bij
from genmix.data import toy_2d
from genmix.evaluation import pictures
from genmix.families import StandardNormal, transformed
from genmix.objectives import Term
from genmix.runs import command_line, run_directory
from genmix.training import Fit, Plan, Player, fit

Elementary = Literal["planar", "radial"]
Shape = Literal[
    "two_moons", "pinwheel", "checkerboard", "eight_gaussians", "two_spirals", "rings", "banana"
]
Density = Literal[
    "nice", "realnvp", "glow", "maf", "spline", "spline-maf", "naf", "planar", "sylvester"
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """All energies are fitted at once by one flow each, and so are all shapes."""

    flow: tuple[Elementary, ...] = ("planar", "radial")
    """Flows that approach the energies."""
    layers: tuple[int, ...] = (2, 8, 32)
    """How many of their layers."""
    density: tuple[Density, ...] = (
        "nice",
        "realnvp",
        "glow",
        "maf",
        "spline",
        "spline-maf",
        "naf",
        "planar",
        "sylvester",
    )
    """Flows that are fitted to points; planar and sylvester are turned around."""
    shape: tuple[Shape, ...] = (
        "two_moons",
        "pinwheel",
        "checkerboard",
        "eight_gaussians",
        "two_spirals",
        "rings",
        "banana",
    )
    energy_steps: int = 10_000
    steps: int = 2000
    """Those of the flows that are fitted to points."""
    batch_size: int = 256
    learning_rate: float = 5e-3
    """At the start; it falls to zero along a cosine."""
    draws: int = 100_000
    """Weighted draws of the estimate of log Z."""
    points: int = 50_000
    """Points to train on, and a fifth of them to test on."""
    seed: int = 0
    out: Path | None = None
    """Directory of the run; runs/flows_2d/TIME if not given."""
    resume: bool = False
    """Go on with the run in --out, bit for bit."""

    def __post_init__(self):
        command_line.require(self, positive=("learning_rate",))
        least = {"steps": 1, "energy_steps": 1, "batch_size": 1, "draws": 2}
        least["points"] = max(5, self.batch_size)
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ValueError(f"{name} must be at least {value}, got {getattr(self, name)}.")
        if min(self.layers, default=1) < 1:
            raise ValueError(f"layers must be at least 1, got {self.layers}.")


def densities(config: Config, name: str, data: np.ndarray) -> Any:
    """One flow for each shape, stacked; each starts from points with mean 0 and variance 1."""
    make = lambda rngs: density_bijector(name, rngs)
    bijectors = stack(make, len(config.shape), config.seed)
    start = lambda b, x: transformed(StandardNormal(2), bij.initialize(b, x))
    return jax.jit(jax.vmap(start, in_axes=(0, 1)))(bijectors, data[:1000])


def reverse_kl(config: Config) -> Term:
    """E_q[log q + beta U], summed over the energies; beta rises to 1 over half of the steps.

    Source: Rezende & Mohamed (2015), arXiv:1505.05770, equation 20.
    """
    energies = [walled(name) for name in ENERGIES]

    def loss(flows, key, batch, step):
        keys = jax.random.split(key, (len(energies), len(batch)))
        draw = jax.vmap(lambda flow, keys: jax.vmap(flow.sample_and_log_prob)(keys))
        z, log_q = draw(flows, keys)
        u = jnp.stack([jax.vmap(energy)(z[i]) for i, energy in enumerate(energies)])
        beta = jnp.minimum(1, 0.01 + 2 * step / config.energy_steps)
        free_energy = jnp.mean(log_q + u, axis=1)
        metrics = dict(zip(ENERGIES, -free_energy, strict=True))
        return jnp.sum(jnp.mean(log_q + beta * u, axis=1)), (metrics, step + 1)

    return Term(loss, lambda model: jnp.zeros((), jnp.int32))


def negative_log_likelihood(config: Config) -> Term:
    """-log p(x), summed over the shapes; batches are [n, shapes, 2]."""

    def loss(flows, key, batch, carry):
        del key
        log_prob = jax.vmap(lambda flow, x: jax.vmap(flow.log_prob)(x), in_axes=(0, 1))
        values = jnp.mean(log_prob(flows, batch), axis=1)
        metrics: dict[str, Any] = dict(zip(config.shape, values, strict=True))
        return -jnp.sum(values), (metrics, carry)

    return Term(loss)


def train(
    config: Config, name: str, model: Any, loss: Term, data: np.ndarray, steps: int, out: Path
) -> Fit:
    schedule = optax.cosine_decay_schedule(config.learning_rate, steps)
    optimizer = optax.chain(optax.clip(10.0), optax.adam(schedule))
    plan = Plan(
        num_rounds=steps,
        batch_size=config.batch_size,
        rounds_per_call=max(steps // 20, 1),
        checkpoint_every=steps,
        directory=out / name,
        resume=config.resume,
        label=name,
    )
    return fit(
        jax.random.key(config.seed), model, [Player(loss=loss, optimizer=optimizer)], data, plan
    )


def estimate(
    config: Config, name: str, flow: Any, log_z_walled: float
) -> tuple[dict[str, Any], np.ndarray]:
    """Figures of one flow on one energy, and its density over the picture's square.

    The draws are weighed without the walls, and with zero where |z1| > 4, so that the estimate is
    one of the integral that is known.
    """
    z, log_q = drawn(jax.random.split(jax.random.key(config.seed), config.draws), flow)
    u = jax.vmap(ENERGIES[name])(z)
    inside = jnp.abs(z[:, 0]) <= 4 if name != "U1" else True
    log_w = np.asarray(jnp.where(inside, -u - log_q, -jnp.inf), np.float64)
    weights = np.exp(log_w - log_w.max())
    mean = weights.mean()
    divergence = np.asarray(log_q + jax.vmap(walled(name))(z)) + log_z_walled
    figures = {
        "energy": name,
        "log_z_exact": LOG_Z[name],
        "log_z": float(log_w.max() + np.log(mean)),
        "log_z_standard_error": float(weights.std() / mean / math.sqrt(len(weights))),
        "kl": float(divergence.mean()),
        "kl_standard_error": float(divergence.std() / math.sqrt(len(divergence))),
        "effective_share": float(mean**2 / np.mean(weights**2)),
    }
    counts, _, _ = np.histogram2d(*np.asarray(z).T[::-1], bins=100, range=[[-4, 4], [-4, 4]])
    return figures, counts / config.draws / (8 / 100) ** 2


def fit_energies(config: Config, out: Path) -> list[dict[str, Any]]:
    rows = []
    exact = {name: log_z_of_walled(name) for name in ENERGIES}
    square = grid(-4, 4, 100)
    panels = {
        name: {"target": np.exp(-jax.vmap(walled(name))(square) - exact[name]).reshape(100, 100)}
        for name in ENERGIES
    }
    nothing = np.zeros((config.batch_size, 1))  # the reverse KL has draws and no data
    for flow in config.flow:
        fields = {name: dict(row) for name, row in panels.items()}
        for count in config.layers:
            make = lambda rngs, flow=flow, count=count: elementary(flow, count, rngs)
            model = stack(make, len(ENERGIES), config.seed)
            label = f"{flow}-{count}"
            steps = config.energy_steps
            trained = train(config, label, model, reverse_kl(config), nothing, steps, out)
            for i, name in enumerate(ENERGIES):
                flow_i = member(trained.model, i)
                figures, fields[name][f"{flow}, K = {count}"] = estimate(
                    config, name, flow_i, exact[name]
                )
                rows.append(
                    {"flow": flow, "layers": count, **figures, "train_seconds": trained.seconds}
                )
        extents = dict.fromkeys(fields, (-4.0, 4.0, -4.0, 4.0))
        pictures.save_fields(out / f"energies-{flow}.png", fields, extents)
    return rows


def extent(shape: str) -> tuple[float, float, float, float]:
    return (-4.0, 12.0, -8.0, 8.0) if shape == "banana" else (-4.2, 4.2, -4.2, 4.2)


def points_of(config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Training and test points of all shapes, [n, shapes, 2]."""
    size = config.points + config.points // 5
    keys = jax.random.split(jax.random.key(config.seed), len(config.shape))
    draw = lambda key, name: jax.vmap(getattr(toy_2d, name))(jax.random.split(key, size))
    drawn = [draw(key, name) for key, name in zip(keys, config.shape, strict=True)]
    train, test = np.split(np.stack(drawn, axis=1), [config.points])
    return train, test


def fit_points(config: Config, out: Path) -> list[dict[str, Any]]:
    rows, size = [], 120
    data, test = points_of(config)
    fields: dict[str, dict[str, np.ndarray]] = {}
    for i, shape in enumerate(config.shape):
        left, right, low, high = extent(shape)
        points = np.concatenate([data, test])[:, i]
        edges = [np.linspace(low, high, 81), np.linspace(left, right, 81)]
        counts, _, _ = np.histogram2d(*points.T[::-1], bins=edges)
        cell = (right - left) * (high - low) / 80**2
        fields[shape] = {"points": counts / len(points) / cell}
    for name in config.density:
        model = densities(config, name, data)
        loss = negative_log_likelihood(config)
        trained = train(config, name, model, loss, data, config.steps, out)
        row = {"flow": name, "train_seconds": trained.seconds}
        for i, shape in enumerate(config.shape):
            flow = member(trained.model, i)
            log_p = np.asarray(log_probs(flow, test[:, i]), np.float64)
            row[shape] = float(-log_p.mean())
            row[f"{shape}_standard_error"] = float(log_p.std() / math.sqrt(len(log_p)))
            left, right, low, high = extent(shape)
            corner = jnp.array([[left, low]])
            sides = jnp.array([[right - left, high - low]])
            log_field = log_probs(flow, corner + sides * grid(0, 1, size))
            fields[shape][name] = np.exp(np.asarray(log_field)).reshape(size, size)
        rows.append(row)
    pictures.save_fields(out / "points.png", fields, {shape: extent(shape) for shape in fields})
    return rows


def print_energies(rows: list[dict[str, Any]]) -> None:
    command_line.print_table(
        "energies: nats",
        {
            "energy": "{energy}",
            "flow": "{flow}",
            "K": "{layers}",
            "log Z": "{log_z_exact:.4f}",
            "estimate": "{log_z:.4f}",
            "±": "{log_z_standard_error:.4f}",
            "KL(q || p)": "{kl:.3f}",
            "eff. draws": "{effective_share:.0%}",
        },
        sorted(rows, key=lambda row: row["energy"]),
    )


def print_points(config: Config, rows: list[dict[str, Any]]) -> None:
    title = "points: NLL of held-out points in nats"
    table = Table(title=title, box=rich.box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("flow", no_wrap=True)
    for shape in config.shape:
        table.add_column(shape.replace("_", "\n").replace("rb", "r\nb"), justify="right")
    known = [toy_2d.ENTROPIES.get(shape) for shape in config.shape]
    table.add_row(
        "entropy", *("" if h is None else f"{h:.3f}" for h in known), "", end_section=True
    )
    for row in rows:
        table.add_row(row["flow"], *(f"{row[shape]:.3f}" for shape in config.shape))
    Console().print(table)


def main(config: Config) -> dict[str, list[dict[str, Any]]]:
    start = time.perf_counter()
    out = run_directory.begin("flows_2d", config)
    energies = fit_energies(config, out) if config.flow and config.layers else []
    points = fit_points(config, out) if config.density and config.shape else []
    if energies:
        print_energies(energies)
    if points:
        print_points(config, points)
    rows = {"energies": energies, "points": points}
    run_directory.write_results(out, start, units="nats; seconds", seed=config.seed, **rows)
    command_line.print_paths(out, *(path.name for path in sorted(out.glob("*.png"))))
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
