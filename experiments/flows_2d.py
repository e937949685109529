"""Flows in the plane, fitted to energies and to points: python -m experiments.flows_2d.

Planar and radial flows of growing depth approach Rezende & Mohamed's energies U1 to U4 by the
reverse KL; every flow with a density is fitted to points. Defaults take minutes on two CPU cores.
"""

import dataclasses
import datetime
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import rich.box
from flax import nnx
from rich.console import Console
from rich.table import Table

from genmix import bijectors as bij
from genmix import command_line
from genmix.data import toy_2d
from genmix.evaluation import pictures
from genmix.families import StandardNormal, transformed
from genmix.nets import MADE, MLP
from genmix.training import Fit, Plan, Player, Term, fit, run_directory

Elementary = Literal["planar", "radial"]
Shape = Literal[
    "two_moons", "pinwheel", "checkerboard", "eight_gaussians", "two_spirals", "rings", "banana"
]
Density = Literal[
    "nice", "realnvp", "glow", "maf", "spline", "spline-maf", "naf", "planar", "sylvester"
]

WALL = 0.1
"""Scale of the walls that make U2 to U4 proper: half a normal density beyond |z1| = 4."""
LOG_Z = {"U1": 1.8775, "U2": 2.0821, "U3": 2.6417, "U4": 2.7107}
"""Log of the integral of exp(-U), in nats; of U2 to U4 over |z1| <= 4, without the walls."""


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
        least = {"steps": 1, "energy_steps": 1, "batch_size": 1, "draws": 2}
        least["points"] = max(5, self.batch_size)
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ValueError(f"{name} must be at least {value}, got {getattr(self, name)}.")
        if min(self.layers, default=1) < 1:
            raise ValueError(f"layers must be at least 1, got {self.layers}.")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}.")
        if self.resume and self.out is None:
            raise ValueError("resume needs --out DIR, the run to go on with.")


def u1(z):
    square = jnp.sum(z**2)
    radius = jnp.sqrt(jnp.where(square > 0, square, 1e-12))
    sides = jnp.logaddexp(-0.5 * ((z[0] - 2) / 0.6) ** 2, -0.5 * ((z[0] + 2) / 0.6) ** 2)
    return 0.5 * ((radius - 2) / 0.4) ** 2 - sides


def u2(z):
    return 0.5 * ((z[1] - _wave(z)) / 0.4) ** 2


def u3(z):
    lower = _wave(z) - 3 * jnp.exp(-0.5 * ((z[0] - 1) / 0.6) ** 2)
    return _two_ridges(z, _wave(z), lower, 0.35)


def u4(z):
    lower = _wave(z) - 3 * jax.nn.sigmoid((z[0] - 1) / 0.3)
    return _two_ridges(z, _wave(z), lower, 0.4)


def _wave(z):
    return jnp.sin(math.pi / 2 * z[0])


def _two_ridges(z, first, second, scale):
    return -jnp.logaddexp(
        -0.5 * ((z[1] - first) / scale) ** 2, -0.5 * ((z[1] - second) / 0.35) ** 2
    )


ENERGIES: dict[str, Callable[[jax.Array], jax.Array]] = {"U1": u1, "U2": u2, "U3": u3, "U4": u4}
"""Source: Rezende & Mohamed (2015), arXiv:1505.05770, table 1."""


def walled(name: str) -> Callable[[jax.Array], jax.Array]:
    """An energy with a finite integral over the plane."""
    beyond = lambda z: jax.nn.relu(jnp.abs(z[0]) - 4)
    wall = lambda z: 0.0 if name == "U1" else 0.5 * (beyond(z) / WALL) ** 2
    return lambda z: ENERGIES[name](z) + wall(z)


def grid(low: float, high: float, size: int) -> jax.Array:
    """Centres of the cells of a square, [size * size, 2]; the first coordinate varies fastest."""
    centres = low + (high - low) * (jnp.arange(size) + 0.5) / size
    x, y = jnp.meshgrid(centres, centres)
    return jnp.stack([x.reshape(-1), y.reshape(-1)], axis=1)


def log_z_of_walled(name: str) -> float:
    """By the sum over a fine grid."""
    size, low, high = 1600, -8.0, 8.0
    log_p = -jax.lax.map(walled(name), grid(low, high, size), batch_size=2**16)
    return float(jax.nn.logsumexp(log_p)) + 2 * math.log((high - low) / size)


def stack(make: Callable[[nnx.Rngs], Any], count: int, seed: int) -> Any:
    """So many modules of one structure as one pytree, with a leading axis."""
    flows = [make(nnx.Rngs(seed + i)) for i in range(count)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *flows)


def elementary(name: str, num_layers: int, rngs: nnx.Rngs) -> Any:
    kind = bij.Planar if name == "planar" else bij.Radial
    layers = bij.repeated([kind(2, rngs=rngs) for _ in range(num_layers)])
    return transformed(StandardNormal(2), bij.chain([bij.Affine(2), layers]))


def density_bijector(name: str, rngs: nnx.Rngs) -> Any:
    """A bijector from z to x; the conditioners have two hidden layers of 64."""

    def coupling(transformer: Any) -> Any:
        size, relu = transformer.num_parameters, jax.nn.relu
        network = MLP(1, (64, 64), 1, num_outputs=size, activation=relu, rngs=rngs)
        return bij.coupling_layer(network, transformer, split=1)

    def made(transformer: Any) -> Any:
        return MADE(2, (64, 64), transformer.num_parameters, rngs=rngs)

    spline, sigmoids = bij.RationalQuadratic(num_bins=16, bound=3.0), bij.DeepSigmoid(num_units=16)
    turned = lambda part: bij.inverse(bij.chain([part, bij.Affine(2)]))
    makers: dict[str, tuple[int, Callable[[], list[Any]]]] = {
        "nice": (8, lambda: [coupling(bij.Shift()), bij.Reverse()]),
        "realnvp": (8, lambda: [coupling(bij.ShiftScale()), bij.Reverse()]),
        "glow": (
            8,
            lambda: [
                coupling(bij.ShiftScale()),
                bij.InvertibleConvolution(2, rngs=rngs),
                bij.ActNorm(2),
            ],
        ),
        "maf": (
            8,
            lambda: [
                bij.masked_autoregressive(made(bij.ShiftScale()), bij.ShiftScale()),
                bij.Reverse(),
            ],
        ),
        "spline": (4, lambda: [coupling(spline), bij.Reverse()]),
        "spline-maf": (
            2,
            lambda: [bij.masked_autoregressive(made(spline), spline), bij.Reverse()],
        ),
        "naf": (
            2,
            lambda: [
                bij.inverse(bij.inverse_autoregressive(made(sigmoids), sigmoids)),
                bij.Reverse(),
            ],
        ),
        "planar": (32, lambda: [turned(bij.Planar(2, rngs=rngs))]),
        "sylvester": (16, lambda: [turned(bij.HouseholderSylvester(2, 1, rngs=rngs))]),
    }
    num_layers, parts = makers[name]
    layers = bij.repeated([bij.chain(parts()) for _ in range(num_layers)])
    return bij.chain([layers, bij.ActNorm(2)])


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


def member(flows: Any, i: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[i], flows)


@jax.jit
def drawn(keys: jax.Array, flow: Any) -> tuple[jax.Array, jax.Array]:
    return jax.vmap(flow.sample_and_log_prob)(keys)


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


@jax.jit
def log_probs(flow: Any, x: jax.Array) -> jax.Array:
    return jax.lax.map(flow.log_prob, x, batch_size=4096)


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
    columns = ("energy", "flow", "K", "log Z", "estimate", "±", "KL(q || p)", "eff. draws")
    table = Table(*columns, title="energies: nats")
    for row in sorted(rows, key=lambda row: row["energy"]):
        table.add_row(
            row["energy"],
            row["flow"],
            str(row["layers"]),
            f"{row['log_z_exact']:.4f}",
            f"{row['log_z']:.4f}",
            f"{row['log_z_standard_error']:.4f}",
            f"{row['kl']:.3f}",
            f"{100 * row['effective_share']:.0f} %",
        )
    Console().print(table)


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
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    out = config.out or Path("runs") / "flows_2d" / stamp
    settings = dataclasses.asdict(config)
    for local in ("out", "resume"):
        settings.pop(local)
    run_directory.prepare(out, settings, resume=config.resume)
    energies = fit_energies(config, out) if config.flow and config.layers else []
    points = fit_points(config, out) if config.density and config.shape else []
    if energies:
        print_energies(energies)
    if points:
        print_points(config, points)
    rows = {"energies": energies, "points": points}
    run_directory.write_json(
        out / "results.json",
        {
            "units": "nats; seconds",
            **rows,
            "seed": config.seed,
            "wall_seconds": time.perf_counter() - start,
            "versions": run_directory.versions(),
            "git_commit": run_directory.git_commit(),
        },
    )
    Console().print(f"results and pictures: {out}", highlight=False)
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
