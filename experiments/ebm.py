"""Energy models of points in the plane, by exact and sampled gradients: python -m experiments.ebm.

A network is the log-density; its normalizer is a sum over a grid, so that log p(x) is exact for
every way of training. Defaults take three minutes on two CPU cores.
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
from flax import nnx

from genmix.data import toy_2d
from genmix.densities import normal
from genmix.evaluation import pictures
from genmix.families.energy.energy import Energy, langevin
from genmix.nets import MLP
from genmix.objectives import Term, contrastive_divergence
from genmix.runs import command_line, run_directory
from genmix.training import Fit, Plan, Player, fit

Method = Literal["exact", "cd", "pcd"]
POINTS = {"two_moons": toy_2d.two_moons, "pinwheel": toy_2d.pinwheel, "rings": toy_2d.rings}
HALF_WIDTH = 5.0
"""Of the square that is summed over."""
CELLS = 120
"""Along each side of the square."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Each model is trained by each method on each set of points."""

    points: tuple[Literal["two_moons", "pinwheel", "rings"], ...] = ("two_moons", "pinwheel")
    methods: tuple[Method, ...] = ("exact", "cd", "pcd")
    hidden: int = 64
    """Width of the two hidden layers."""
    steps: int = 3_000
    batch_size: int = 200
    learning_rate: float = 2e-3
    """At the start; it falls to zero along a cosine."""
    langevin_steps: int = 20
    """Of each chain in a step of training."""
    langevin_size: float = 0.02
    """Step size of MALA."""
    buffer: int = 5_000
    """Chains that pcd keeps, of which a batch moves in each step."""
    seed: int = 0
    out: Path | None = None
    """Directory of the run; runs/ebm/TIME if not given."""
    resume: bool = False
    """Go on with the run in --out, bit for bit."""
    debug: bool = False
    """If a number is not finite, name the operation that made it so; it may go with --resume."""

    def __post_init__(self):
        command_line.require(
            self,
            counts=("hidden", "steps", "batch_size", "langevin_steps"),
            positive=("learning_rate", "langevin_size"),
            names=("points", "methods"),
        )
        if self.buffer < self.batch_size:
            raise ValueError(
                f"buffer must hold at least a batch, {self.batch_size} chains; got {self.buffer}."
            )


@dataclasses.dataclass(frozen=True)
class WideNormal:
    """N(0, 2^2) in both directions: what the network is multiplied with, so that Z is finite."""

    def log_prob(self, x: jax.Array, cond: Any = None) -> jax.Array:
        del cond
        return jnp.sum(normal.log_prob(x, 0.0, 2.0))

    def sample(self, key: jax.Array, cond: Any = None) -> jax.Array:
        del cond
        return 2.0 * jax.random.normal(key, (2,))


def grid() -> np.ndarray:
    """Middles of the cells, [cells, cells, 2]; the first index goes upwards."""
    ticks = (np.arange(CELLS) + 0.5) / CELLS * 2 * HALF_WIDTH - HALF_WIDTH
    return np.stack(np.meshgrid(ticks, ticks), axis=-1).astype(np.float32)


def log_partition(model: Energy) -> jax.Array:
    """Log Z, in nats, as a sum over the grid."""
    area = (2 * HALF_WIDTH / CELLS) ** 2
    values = jax.vmap(model.log_unnormalized)(jnp.asarray(grid().reshape(-1, 2)))
    return jax.nn.logsumexp(values) + math.log(area)


def exact() -> Term:
    """Minus the mean of log p(x): the normalizer differentiated like everything else."""

    def loss(model, key, batch, carry):
        del key
        value = jnp.mean(jax.vmap(model.log_unnormalized)(batch)) - log_partition(model)
        return -value, ({"log_prob": value}, carry)

    return Term(loss)


def term(config: Config, method: Method) -> Term:
    transition = langevin(config.langevin_size, adjusted=True)
    if method == "exact":
        return exact()
    if method == "cd":
        return contrastive_divergence.contrastive_divergence(
            config.langevin_steps, transition=transition
        )
    noise = WideNormal().sample
    chains = jax.vmap(noise)(jax.random.split(jax.random.key(config.seed), config.buffer))
    return contrastive_divergence.persistent(
        chains,
        config.langevin_steps,
        transition=transition,
        chains_at_once=config.batch_size,
        restart=noise,
    )


def draw_points(name: str, seed: int, count: int) -> np.ndarray:
    return np.asarray(jax.vmap(POINTS[name])(jax.random.split(jax.random.key(seed), count)))


def train(config: Config, name: str, method: Method, directory: Path) -> Fit:
    rate = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    player = Player(loss=term(config, method), optimizer=optax.adam(rate))
    hidden = (config.hidden, config.hidden)
    network = MLP(2, hidden, 1, activation=jax.nn.silu, rngs=nnx.Rngs(config.seed))
    plan = Plan(
        num_rounds=config.steps,
        batch_size=config.batch_size,
        rounds_per_call=max(config.steps // 50, 1),
        directory=directory,
        resume=config.resume,
        debug=config.debug,
        label=f"{name.replace('_', ' ')}, {method}",
    )
    model = Energy(network, base=WideNormal())
    x = draw_points(name, config.seed + 1, 20_000)
    return fit(jax.random.key(config.seed), model, [player], x, plan)


def run_all(config: Config, out: Path) -> list[dict[str, Any]]:
    rows, densities = [], {}
    extent = (-HALF_WIDTH, HALF_WIDTH, -HALF_WIDTH, HALF_WIDTH)
    for name in config.points:
        test = draw_points(name, config.seed + 2, 10_000)
        counts, _, _ = np.histogram2d(*test.T[::-1], bins=CELLS // 3, range=[extent[:2]] * 2)
        cell = (2 * HALF_WIDTH / (CELLS // 3)) ** 2
        panels: dict[str, np.ndarray] = {"points": counts / len(test) / cell}
        for method in config.methods:
            result = train(config, name, method, out / f"{name}-{method}")
            model = result.model
            log_z = float(jax.jit(log_partition)(model))
            log_prob = np.asarray(jax.vmap(model.log_unnormalized)(jnp.asarray(test))) - log_z
            values = jax.vmap(jax.vmap(model.log_unnormalized))(jnp.asarray(grid()))
            panels[method] = np.exp(np.asarray(values) - log_z)
            rows.append(
                {
                    "points": name,
                    "method": method,
                    "nll": float(-np.mean(log_prob)),
                    "nll_standard_error": float(np.std(log_prob, ddof=1) / math.sqrt(len(test))),
                    "log_z": log_z,
                    "train_seconds": result.seconds,
                }
            )
        densities[name] = panels
    pictures.save_fields(out / "densities.png", densities, dict.fromkeys(densities, extent))
    return rows


def main(config: Config) -> list[dict[str, Any]]:
    begin = time.perf_counter()
    out = run_directory.begin("ebm", config)
    rows = run_all(config, out)
    command_line.print_table(
        "energy models: NLL of 10,000 new points in nats, with Z summed over a grid",
        {
            "points": "{points}",
            "method": "{method}",
            "NLL": "{nll:.3f}",
            "±": "{nll_standard_error:.3f}",
            "training": "{train_seconds:.1f} s",
        },
        [row | {"points": row["points"].replace("_", " ")} for row in rows],
    )
    run_directory.write_results(
        out, begin, units="nats per point; seconds", seed=config.seed, rows=rows
    )
    command_line.print_paths(out, "densities.png")
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
