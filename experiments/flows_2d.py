"""Flows in the plane, fitted to energies and to points: python -m experiments.flows_2d.

Planar and radial flows of growing depth approach Rezende & Mohamed's energies U1 to U4 by the
reverse KL; every flow with a density is fitted to points. Defaults take minutes on two CPU cores.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import study
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
from genmix.runs import command_line
from genmix.training import Player

Elementary = Literal["planar", "radial"]
Shape = Literal[
    "two_moons", "pinwheel", "checkerboard", "eight_gaussians", "two_spirals", "rings", "banana"
]
Density = Literal[
    "nice", "realnvp", "glow", "maf", "spline", "spline-maf", "naf", "planar", "sylvester"
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.Training):
    """All energies are fitted at once by one flow each, and so are all shapes."""

    flow: tuple[Elementary, ...] = ("planar", "radial")
    """Flows that approach the energies."""
    layers: tuple[study.Count, ...] = (2, 8, 32)
    """How many of their layers."""
    density: tuple[Density, ...] = get_args(Density)
    """Flows that are fitted to points; planar and sylvester are turned around."""
    shape: tuple[Shape, ...] = get_args(Shape)
    energy_steps: study.Count = 10_000
    steps: study.Count = 2000
    """Those of the flows that are fitted to points."""
    batch_size: study.Count = 256
    learning_rate: study.Positive = 5e-3
    """At the start; it falls to zero along a cosine."""
    draws: Annotated[int, study.at_least(2)] = 100_000
    """Weighted draws of the estimate of log Z."""
    points: Annotated[int, study.at_least(5)] = 50_000
    """Points to train on, and a fifth of them to test on."""

    def __post_init__(self):
        super().__post_init__()
        if self.points < self.batch_size:
            raise ValueError(f"points must be at least {self.batch_size}, got {self.points}.")


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


def variant(
    config: Config, name: str, loss: Term, row: study.Row, data: np.ndarray, **more: Any
) -> study.Variant:
    steps = config.energy_steps if "layers" in row else config.steps
    optimizer = optax.chain(optax.clip(10.0), optax.adam(config.falling(steps)))
    return study.Variant(
        name=name,
        row=row,
        players=[Player(loss=loss, optimizer=optimizer)],
        data=data,
        plan=config.plan(steps, reports=20),
        checkpoint_every=steps,
        **more,
    )


def of_energies(config: Config, flow: str, count: int) -> study.Variant:
    make = lambda rngs: elementary(flow, count, rngs)
    build = lambda: stack(make, len(ENERGIES), config.seed)
    nothing = np.zeros((config.batch_size, 1))  # the reverse KL has draws and no data
    row = {"flow": flow, "layers": count}
    return variant(config, f"{flow}-{count}", reverse_kl(config), row, nothing, build=build)


def of_points(config: Config, name: str, data: np.ndarray) -> study.Variant:
    build = lambda: densities(config, name, data)
    loss = negative_log_likelihood(config)
    return variant(config, name, loss, {"flow": name}, data, build=build)


exact = functools.cache(log_z_of_walled)


def estimate(config: Config, name: str, flow: Any) -> dict[str, Any]:
    """Figures of one flow on one energy.

    The draws are weighed without the walls, and with zero where |z1| > 4, so that the estimate is
    one of the integral that is known.
    """
    z, log_q = drawn(jax.random.split(config.key, config.draws), flow)
    u = jax.vmap(ENERGIES[name])(z)
    inside = jnp.abs(z[:, 0]) <= 4 if name != "U1" else True
    log_w = np.asarray(jnp.where(inside, -u - log_q, -jnp.inf), np.float64)
    weights = np.exp(log_w - log_w.max())
    mean = weights.mean()
    divergence = np.asarray(log_q + jax.vmap(walled(name))(z)) + exact(name)
    return {
        "energy": name,
        "log_z_exact": LOG_Z[name],
        "log_z": float(log_w.max() + np.log(mean)),
        "log_z_standard_error": float(weights.std() / mean / math.sqrt(len(weights))),
        "kl": float(divergence.mean()),
        "kl_standard_error": float(divergence.std() / math.sqrt(len(divergence))),
        "effective_share": float(mean**2 / np.mean(weights**2)),
    }


def measure(config: Config, test: np.ndarray, result: study.Result) -> list[dict[str, Any]]:
    """A row for each energy, or one with the NLL of each shape."""
    if "layers" in result.row:
        return [
            {"energy": name, **estimate(config, name, member(result.model, i))}
            for i, name in enumerate(ENERGIES)
        ]
    row = {}
    for i, shape in enumerate(config.shape):
        log_p = np.asarray(log_probs(member(result.model, i), test[:, i]), np.float64)
        row[shape] = float(-log_p.mean())
        row[f"{shape}_standard_error"] = float(log_p.std() / math.sqrt(len(log_p)))
    return [row]


def points_of(config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Training and test points of all shapes, [n, shapes, 2]."""
    size = config.points + config.points // 5
    keys = jax.random.split(config.key, len(config.shape))
    draw = lambda key, name: jax.vmap(getattr(toy_2d, name))(jax.random.split(key, size))
    drawn = [draw(key, name) for key, name in zip(keys, config.shape, strict=True)]
    train, test = np.split(np.stack(drawn, axis=1), [config.points])
    return train, test


def histogram(x: np.ndarray, extent: Sequence[float], bins: int) -> np.ndarray:
    """Density of points over a rectangle, from its share of all."""
    left, right, low, high = extent
    edges = [np.linspace(low, high, bins + 1), np.linspace(left, right, bins + 1)]
    counts, _, _ = np.histogram2d(*np.asarray(x).T[::-1], bins=edges)
    return counts / len(x) / ((right - left) * (high - low) / bins**2)


def draw_energies(config: Config, out: Path, found: Sequence[study.Result]) -> None:
    """The densities of the energies, and of draws of each flow."""
    square, extent = grid(-4, 4, 100), (-4.0, 4.0, -4.0, 4.0)
    target = lambda name: np.exp(-jax.vmap(walled(name))(square) - exact(name)).reshape(100, 100)
    for flow in config.flow:
        fields = {name: {"target": target(name)} for name in ENERGIES}
        for result in (r for r in found if r.row["flow"] == flow and "layers" in r.row):
            for i, name in enumerate(ENERGIES):
                keys = jax.random.split(config.key, config.draws)
                z, _ = drawn(keys, member(result.model, i))
                fields[name][f"{flow}, K = {result.row['layers']}"] = histogram(z, extent, 100)
        pictures.save_fields(out / f"energies-{flow}.png", fields, dict.fromkeys(fields, extent))


def extent(shape: str) -> tuple[float, float, float, float]:
    return (-4.0, 12.0, -8.0, 8.0) if shape == "banana" else (-4.2, 4.2, -4.2, 4.2)


def draw_points(
    config: Config, points: np.ndarray, out: Path, found: Sequence[study.Result]
) -> None:
    """The points of each shape, and the density of each flow."""
    size, fields = 120, {}
    for i, shape in enumerate(config.shape):
        left, right, low, high = extent(shape)
        corner, sides = jnp.array([[left, low]]), jnp.array([[right - left, high - low]])
        fields[shape] = {"points": histogram(points[:, i], extent(shape), 80)}
        for result in found:
            log_p = log_probs(member(result.model, i), corner + sides * grid(0, 1, size))
            fields[shape][result.row["flow"]] = np.exp(np.asarray(log_p)).reshape(size, size)
    pictures.save_fields(out / "points.png", fields, {shape: extent(shape) for shape in fields})


def tables(config: Config) -> list[study.Table]:
    energies = {
        "energy": "{energy}",
        "flow": "{flow}",
        "K": "{layers}",
        "log Z": "{log_z_exact:.4f}",
        "estimate": "{log_z:.4f}",
        "±": "{log_z_standard_error:.4f}",
        "KL(q || p)": "{kl:.3f}",
        "eff. draws": "{effective_share:.0%}",
    }
    names = {s: s.replace("_", "\n").replace("rb", "r\nb") for s in config.shape}
    points = {"flow": "{flow}"} | {names[shape]: f"{{{shape}:.3f}}" for shape in config.shape}
    known = {"flow": "entropy"} | {shape: toy_2d.ENTROPIES.get(shape) for shape in config.shape}
    of_points = lambda rows: [row for row in rows if "energy" not in row]
    return [
        study.Table(
            "energies: nats",
            energies,
            lambda rows: sorted((r for r in rows if "energy" in r), key=lambda r: r["energy"]),
        ),
        study.Table(
            "points: NLL of held-out points in nats",
            points,
            lambda rows: [known, *of_points(rows)] if of_points(rows) else [],
        ),
    ]


def experiment(config: Config) -> study.Study:
    variants = [of_energies(config, flow, k) for flow in config.flow for k in config.layers]
    train = test = np.zeros((0, 0, 2))
    if config.density and config.shape:
        train, test = points_of(config)
        variants += [of_points(config, name, train) for name in config.density]

    def draw(out: Path, found: Sequence[study.Result]) -> None:
        if config.flow and config.layers:
            draw_energies(config, out, found)
        if fitted := [result for result in found if "layers" not in result.row]:
            draw_points(config, np.concatenate([train, test]), out, fitted)

    return study.Study(
        variants=variants,
        measure=lambda result: measure(config, test, result),
        draw=draw,
        tables=tables(config),
        units="nats; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("flows_2d", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
