"""Energy models of points in the plane, by exact and sampled gradients: python -m experiments.ebm.

A network is the log-density; its normalizer is a sum over a grid, so that log p(x) is exact for
every way of training. Defaults take three minutes on two CPU cores.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments import study
from genmix import objectives
from genmix.data import toy_2d
from genmix.densities import normal
from genmix.evaluation import baselines, pictures
from genmix.families.energy.energy import Energy
from genmix.mcmc import mala
from genmix.nets import MLP
from genmix.objectives import Term
from genmix.runs import command_line
from genmix.training import Player

Method = Literal["exact", "cd", "pcd"]
POINTS = {"two_moons": toy_2d.two_moons, "pinwheel": toy_2d.pinwheel, "rings": toy_2d.rings}
HALF_WIDTH = 5.0
"""Of the square that is summed over."""
CELLS = 120
"""Along each side of the square."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.Training):
    """Each model is trained by each method on each set of points."""

    points: study.Each[Literal["two_moons", "pinwheel", "rings"]] = ("two_moons", "pinwheel")
    methods: study.Each[Method] = ("exact", "cd", "pcd")
    hidden: study.Count = 64
    """Width of the two hidden layers."""
    steps: study.Count = 3_000
    batch_size: study.Count = 200
    learning_rate: study.Positive = 2e-3
    """At the start; it falls to zero along a cosine."""
    langevin_steps: study.Count = 20
    """Of each chain in a step of training."""
    langevin_size: study.Positive = 0.02
    """Step size of MALA."""
    buffer: study.Count = 5_000
    """Chains that pcd keeps, of which a batch moves in each step."""

    def __post_init__(self):
        super().__post_init__()
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
    kernel = lambda model: mala.build(model.log_unnormalized, config.langevin_size)
    if method == "exact":
        return exact()
    if method == "cd":
        return objectives.contrastive_divergence(config.langevin_steps, kernel=kernel)
    noise = WideNormal().sample
    chains = jax.vmap(noise)(jax.random.split(jax.random.key(config.seed), config.buffer))
    return objectives.persistent_contrastive_divergence(
        chains,
        config.langevin_steps,
        kernel=kernel,
        chains_at_once=config.batch_size,
        restart=noise,
    )


def draw_points(name: str, seed: int, count: int) -> np.ndarray:
    return np.asarray(jax.vmap(POINTS[name])(jax.random.split(jax.random.key(seed), count)))


def build(config: Config) -> Energy:
    hidden = (config.hidden, config.hidden)
    network = MLP(2, hidden, 1, activation=jax.nn.silu, rngs=nnx.Rngs(config.seed))
    return Energy(network, base=WideNormal())


@functools.cache
def test_points(name: str, seed: int) -> np.ndarray:
    return draw_points(name, seed + 2, 10_000)


def measure(config: Config, result: study.Result) -> dict[str, Any]:
    """The exact NLL of new points."""
    model, x = result.model, test_points(result.row["points"], config.seed)
    log_z = float(jax.jit(log_partition)(model))
    log_prob = np.asarray(jax.vmap(model.log_unnormalized)(jnp.asarray(x))) - log_z
    return {**baselines.row(result.name, log_prob), "log_z": log_z}


def draw(config: Config, out: Path, results: Sequence[study.Result]) -> None:
    """The density of the points, and those of the models."""
    extent = (-HALF_WIDTH, HALF_WIDTH, -HALF_WIDTH, HALF_WIDTH)
    densities: dict[str, dict[str, np.ndarray]] = {}
    for result in results:
        name, model = result.row["points"], result.model
        if name not in densities:
            test, bins = test_points(name, config.seed), CELLS // 3
            counts, _, _ = np.histogram2d(*test.T[::-1], bins=bins, range=[extent[:2]] * 2)
            densities[name] = {"points": counts / len(test) / (2 * HALF_WIDTH / bins) ** 2}
        values = jax.vmap(jax.vmap(model.log_unnormalized))(jnp.asarray(grid()))
        log_z = jax.jit(log_partition)(model)
        densities[name][result.row["method"]] = np.exp(np.asarray(values - log_z))
    pictures.save_fields(out / "densities.png", densities, dict.fromkeys(densities, extent))


def experiment(config: Config) -> study.Study:
    variant = lambda name, method: study.Variant(
        name=f"{name.replace('_', ' ')}, {method}",
        folder=f"{name}-{method}",
        row={"points": name, "method": method},
        build=lambda: build(config),
        players=[Player(loss=term(config, method), optimizer=optax.adam(config.falling()))],
        data=draw_points(name, config.seed + 1, 20_000),
        plan=config.plan(),
    )
    columns = {
        "points": lambda row: row["points"].replace("_", " "),
        "method": "{method}",
        "NLL": "{nll:.3f}",
        "±": "{nll_standard_error:.3f}",
        "training": "{train_seconds:.1f} s",
    }
    title = "energy models: NLL of 10,000 new points in nats, with Z summed over a grid"
    return study.Study(
        variants=[variant(name, method) for name in config.points for method in config.methods],
        measure=lambda result: measure(config, result),
        draw=lambda out, results: draw(config, out, results),
        tables=[study.Table(title, columns)],
        units="nats per point; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("ebm", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
