"""Mutual information beside correlation, and its lower bounds: python -m experiments.information.

Points scattered about a curve in the plane: the correlation of their coordinates sees a line and
nothing else. Barber and Agakov's bound H(y) + E log q(y | x) is as tight as q, a normal one or a
spline flow given x; InfoNCE needs no density, and is at most the log of the batch's size.

Source: Barber & Agakov (2003), NIPS 16; van den Oord et al. (2018), arXiv:1807.03748.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments import study
from genmix import bijectors, evaluation, objectives
from genmix.evaluation import pictures
from genmix.families import Given, Normal, StandardNormal, transformed
from genmix.nets import MADE, MLP, Joined
from genmix.runs import command_line
from genmix.training import Game, Player

Name = Literal["independent", "line", "parabola", "circle", "cross"]
REACH, CELLS, STEPS = 6.0, 600, 2001  # of the grid, and of the curve


class Curve(NamedTuple):
    """Points (a(t, s), b(t, s)) + noise, with t ~ N(0, 1) and s one of two signs, evenly."""

    a: Callable[[Any, Any], Any]
    b: Callable[[Any, Any], Any]
    noise: float


# The circle's t is turned into an angle, evenly spread.
ANGLE = lambda t: math.pi * jax.lax.erf(jnp.asarray(t) / math.sqrt(2))
CURVES: dict[Name, Curve] = {
    "independent": Curve(lambda t, s: 0.8 * t, lambda t, s: 0.8 * s, 0.4),
    "line": Curve(lambda t, s: t, lambda t, s: t, 0.4),
    "parabola": Curve(lambda t, s: t, lambda t, s: 0.3 * (t**2 - 1), 0.15),
    "circle": Curve(lambda t, s: jnp.cos(ANGLE(t)), lambda t, s: jnp.sin(ANGLE(t)), 0.15),
    "cross": Curve(lambda t, s: t, lambda t, s: s * t, 0.2),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.Training):
    """Three players who learn side by side: two densities of y given x, and a critic of pairs."""

    data: study.Each[Name] = tuple(CURVES)
    hidden: study.Count = 64
    """Width of the two hidden layers of each network."""
    points: study.Count = 50_000
    """Drawn for training, and as many for the figures."""
    steps: study.Count = 2000
    batch_size: study.Count = 128
    """At most its logarithm, 4.9 nats, is found by InfoNCE."""
    learning_rate: study.Positive = 2e-3


def draw_points(key: jax.Array, curve: Curve, num_points: int) -> jax.Array:
    """[n, 2]."""
    keys = jax.random.split(key, 3)
    t, s = jax.random.normal(keys[0], (num_points,)), jax.random.rademacher(keys[1], (num_points,))
    on_curve = jnp.stack([curve.a(t, s) + 0 * t, curve.b(t, s) + 0 * t], axis=1)
    return on_curve + curve.noise * jax.random.normal(keys[2], (num_points, 2))


def exact(curve: Curve) -> tuple[float, float]:
    """I(x; y) and H(y) in nats, by sums over a grid of the density, a sum over the curve."""
    width = 2 * REACH / CELLS
    cells = np.linspace(-REACH, REACH, CELLS, endpoint=False) + width / 2
    t = np.linspace(-6, 6, STEPS)
    weights = np.exp(-(t**2) / 2)
    joint = np.zeros((CELLS, CELLS))
    for sign in (-1, 1):
        of_x, of_y = (np.asarray(f(t, sign) + 0 * t)[:, None] for f in (curve.a, curve.b))
        normal = lambda centre: np.exp(-0.5 * ((cells - centre) / curve.noise) ** 2)
        joint += (weights[:, None] * normal(of_x)).T @ normal(of_y)
    joint /= joint.sum()
    p_x, p_y = joint.sum(axis=1), joint.sum(axis=0)
    log = lambda p: np.log(np.where(p > 0, p, 1))
    information = np.sum(joint * (log(joint) - log(p_x)[:, None] - log(p_y)))
    return max(float(information), 0.0), float(-np.sum(p_y * (log(p_y) - math.log(width))))


def build(config: Config) -> Game:
    rngs, hidden = nnx.Rngs(config.seed), (config.hidden, config.hidden)
    spline = bijectors.RationalQuadratic(num_bins=16, bound=REACH)
    made = MADE(1, hidden, spline.num_parameters, cond_size=1, rngs=rngs)
    flow = transformed(StandardNormal(1), bijectors.masked_autoregressive(made, spline))
    return Game(
        normal=Given(Normal(MLP(1, hidden, 1, rngs=rngs))),
        spline=Given(flow),
        critic=Joined(MLP(2, hidden, 1, rngs=rngs)),
    )


def players(config: Config) -> list[Player]:
    adam = lambda: optax.adam(config.falling())
    player = lambda name, term: Player(name=name, loss=term.of(name), optimizer=adam())
    likelihood = objectives.elbo().on(lambda pair: (pair[1], pair[0]))  # of y given x
    return [
        player("normal", likelihood),
        player("spline", likelihood),
        player("critic", objectives.info_nce()),
    ]


def test_points(config: Config, name: Name) -> jax.Array:
    return draw_points(jax.random.key(config.seed + 1), CURVES[name], config.points)


def evaluate(config: Config, result: study.Result) -> dict[str, Any]:
    """On points that were not trained on."""
    game, name = result.model, result.row["data"]
    points = test_points(config, name)
    x, y = points[:, :1], points[:, 1:]
    information, entropy = exact(CURVES[name])
    figures: dict[str, Any] = {
        "correlation": float(np.corrcoef(points.T)[0, 1]),
        "information": information,
    }
    for part in ("normal", "spline"):
        found = evaluation.log_likelihood(config.key, getattr(game, part), (y, x), num_particles=1)
        figures[part] = entropy - found.nll
        figures[f"{part}_error"] = found.standard_error
    size = min(config.batch_size, config.points)
    term, batches = objectives.info_nce(), config.points // size
    cut = lambda a: a[: batches * size].reshape(batches, size, 1)
    loss = lambda pair: -term.loss(game.critic, config.key, pair, ())[0]
    found = np.asarray(jax.jit(lambda *pair: jax.lax.map(loss, pair))(cut(x), cut(y)))
    figures["info_nce"] = float(np.mean(found))
    figures["info_nce_error"] = float(np.std(found) / math.sqrt(batches))
    return figures


def variant(config: Config, name: Name) -> study.Variant:
    points = draw_points(config.key, CURVES[name], config.points)
    return study.Variant(
        name=name,
        row={"data": name},
        build=lambda: build(config),
        players=players(config),
        data=(points[:, :1], points[:, 1:]),
        plan=config.plan(),
    )


def experiment(config: Config) -> study.Study:
    def draw(out: Any, results: Any) -> None:
        panels = {}
        for it in results:
            (figures,), points = it.figures, np.asarray(test_points(config, it.row["data"]))
            title = "{data}\ncorrelation {correlation:.2f}\ninformation {information:.2f}"
            panels[title.format(**it.row, **figures)] = points[:2000]
        pictures.save_clouds(out / "points.png", {"": panels}, reach=3.0)

    return study.Study(
        variants=[variant(config, name) for name in config.data],
        measure=lambda result: evaluate(config, result),
        draw=draw,
        tables=[
            study.Table(
                "mutual information of two numbers in nats: exact, and bounds on new points",
                {
                    "data": "{data}",
                    "correlation": "{correlation:.2f}",
                    "exact": "{information:.3f}",
                    "InfoNCE": "{info_nce:.3f}",
                    "normal q": "{normal:.3f}",
                    "spline q": "{spline:.3f}",
                },
            )
        ],
        units="nats",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("information", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
