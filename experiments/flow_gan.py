"""Flows trained by likelihood, by a critic, or by both (FlowGAN): python -m experiments.flow_gan.

All three know their exact likelihood; defaults train them on scikit-learn's digits in a few minutes
on two CPU cores.

Source: Grover, Dhar & Ermon (2018), arXiv:1705.08868.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments import study
from genmix import bijectors as bij
from genmix import data, divergences, evaluation, objectives
from genmix.data import grey, toy_2d
from genmix.evaluation import pictures, sample_quality
from genmix.families import Flow, StandardNormal
from genmix.nets import MLP
from genmix.objectives import Term
from genmix.runs import command_line
from genmix.training import Game, Player

MARGIN = 0.05  # of the logit map
NUM_POINTS = 10_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.Training):
    """One flow is trained for maximum likelihood, one for the critic, one for each lambda."""

    dataset: Literal["eight-gaussians", "digits", "mnist", "fashion-mnist"] = "digits"
    data_dir: Path | None = None
    """Folder that holds mnist/, ...; the others need none."""
    flow: Literal["nice", "realnvp"] = "realnvp"
    likelihood_weight: study.Each[study.Positive] = (0.01, 0.1, 1.0)
    """Lambdas: the hybrids minimise the generator's loss - lambda * mean log-likelihood (nats)."""
    layers: study.Count = 8
    hidden: study.Count | None = None
    """Width of the networks of the flow, a quarter of the critic's; 64, for MNIST 256."""
    critic_steps: study.Count = 5
    """Steps of the critic for one of the flow."""
    steps: study.Count = 3000
    learning_rate: study.Positive = 5e-4
    """Of both players at the start; it falls to zero along a cosine."""
    samples: study.Count = 2000
    """Drawn for the table, at least 4 of images."""

    def __post_init__(self):
        super().__post_init__()
        if self.dataset != "eight-gaussians" and self.samples < 4:  # for 3 neighbours
            raise ValueError(f"samples must be at least 4, got {self.samples}.")


class Source(NamedTuple):
    """Events as vectors: points, or levels of images before their noise."""

    train: np.ndarray
    test: np.ndarray
    num_levels: int | None  # none for points
    shape: tuple[int, ...]
    labels: tuple[np.ndarray, np.ndarray] | None

    def noisy(self, key: jax.Array, x: jax.Array) -> jax.Array:
        """Levels with uniform noise in [0, 1]; points as they are."""
        if self.num_levels is None:
            return x
        return (x + jax.random.uniform(key, x.shape)) / self.num_levels

    def images(self, labels: tuple[np.ndarray, np.ndarray]) -> grey.Images:
        """In [0, 1], for a classifier."""
        shown = lambda x: x.reshape(-1, *self.shape) / ((self.num_levels or 2) - 1)
        return grey.Images(shown(self.train), shown(self.test), labels)


def load(config: Config) -> Source:
    if config.dataset == "eight-gaussians":
        keys = jax.random.split(jax.random.key(0), 2 * NUM_POINTS)
        train, test = np.split(np.asarray(jax.vmap(toy_2d.eight_gaussians)(keys)), 2)
        return Source(train, test, None, (2,), None)
    dataset = data.load(config.dataset, config.data_dir, pixels="levels")
    if dataset.train_labels is None or dataset.test_labels is None:
        raise ValueError(f"{dataset.name} has no labels for the classifier that judges samples.")
    vectors = lambda x: x.reshape(len(x), -1)
    labels = (dataset.train_labels, dataset.test_labels)
    shape = dataset.train.shape[1:]
    return Source(vectors(dataset.train), vectors(dataset.test), dataset.num_levels, shape, labels)


def build(config: Config, source: Source) -> Game:
    """Couplings with a permutation after each; images pass through a logit map.

    Without an adversarial term the critic stays as it is.
    """
    rngs, dim = nnx.Rngs(config.seed), source.train.shape[1]
    hidden = config.hidden or (256 if dim > 100 else 64)
    transformer = bij.Shift() if config.flow == "nice" else bij.ShiftScale()
    order = np.random.default_rng(0).permutation(dim).tolist() if dim > 2 else [1, 0]

    def layer() -> Any:
        network = MLP(
            dim // 2,
            (hidden, hidden),
            dim - dim // 2,
            num_outputs=transformer.num_parameters,
            activation=jax.nn.relu,
            rngs=rngs,
        )
        network.out.kernel[...] = 0.1 * network.out.kernel[...]  # a flow near the identity
        coupling = bij.coupling_layer(network, transformer, split=dim // 2)
        return bij.chain([coupling, bij.Permutation(order)])

    parts = [bij.repeated([layer() for _ in range(config.layers)]), bij.ActNorm(dim)]
    if source.num_levels is not None:
        parts.append(bij.Sigmoid(margin=MARGIN))
    first = source.noisy(jax.random.key(1), jnp.asarray(source.train[:1000], jnp.float32))
    flow = Flow(StandardNormal(dim), bij.initialize(bij.chain(parts), first))
    widths = (4 * hidden, 4 * hidden)
    return Game(flow=flow, critic=MLP(dim, widths, 1, activation=jax.nn.relu, rngs=rngs))


def likelihood() -> Term:
    """Minus the mean log-likelihood, in nats."""
    return objectives.elbo(name="log_prob").of("flow")


def players(config: Config, weight: float | None, *, has_critic: bool) -> list[Player]:
    """Of the hybrid; of the pure game without a weight; of maximum likelihood without a critic."""
    adam = lambda steps: optax.chain(
        optax.clip_by_global_norm(100.0),
        optax.adam(optax.cosine_decay_schedule(config.learning_rate, steps), b1=0.5, b2=0.9),
    )
    w1, data = divergences.gan.wasserstein, objectives.data
    if not has_critic:
        return [Player(name="flow", loss=likelihood(), optimizer=adam(config.steps))]
    loss = objectives.generator(data, w1).of("flow")
    if weight is not None:
        loss = loss + weight * likelihood()
    judged = objectives.critic(data, w1) + 10.0 * objectives.wgan_gp(data)
    critic = Player(
        name="critic",
        loss=judged.of("flow"),
        optimizer=adam(config.steps * config.critic_steps),
        steps=config.critic_steps,
    )
    return [critic, Player(name="flow", loss=loss, optimizer=adam(config.steps))]


@jax.jit
def log_condition(key: jax.Array, flow: Flow) -> jax.Array:
    """Median over 100 samples of log10 of the condition number of the flow's Jacobian."""

    def one(key):
        forward = lambda z: flow.bijector.forward_and_log_det(z)[0]
        values = jnp.linalg.svd(jax.jacfwd(forward)(flow.base.sample(key)), compute_uv=False)
        return jnp.log10(values[0]) - jnp.log10(values[-1])

    return jnp.median(jax.lax.map(one, jax.random.split(key, 100)))


def evaluate(
    config: Config, source: Source, flow: Flow, judge: study.Judge | None
) -> dict[str, Any]:
    """Figures on test data, in nats an event where they have a unit."""
    nll_key, jacobian_key, sample_key = jax.random.split(config.key, 3)
    dim = source.train.shape[1]
    x = source.noisy(jax.random.key(0), jnp.asarray(source.test, jnp.float32))
    with np.errstate(over="ignore", invalid="ignore"):  # without a likelihood term it may be huge
        likelihood = evaluation.log_likelihood(nll_key, flow, x, num_particles=1)
        log_px = likelihood.log_px.astype(np.float64)
        error = float(np.std(log_px, ddof=1) / math.sqrt(len(log_px)))
    figures = {
        "nll": float(-np.mean(log_px)),
        "nll_standard_error": error,
        "log10_condition": float(log_condition(jacobian_key, flow)),
    }
    if judge is None or source.num_levels is None:
        angles = 2 * np.pi * np.arange(8) / 8
        centres = 4 / math.sqrt(2) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        samples = sample_quality.draw(sample_key, flow, config.samples, lambda x: x)
        quality = sample_quality.modes(samples, centres, 0.5 / math.sqrt(2))
    else:
        figures["bits_per_dim"] = evaluation.bits_per_dim_unit_interval(
            float(np.mean(log_px)), dim, source.num_levels
        )
        real = np.asarray(source.test).reshape(-1, *source.shape) / (source.num_levels - 1)
        quality = sample_quality.evaluate_samples(
            sample_key,
            flow,
            real,
            judge.classifier,
            num_samples=config.samples,
            to_image=lambda x: to_image(source, x),
        )
    return figures | quality._asdict()


def to_image(source: Source, x: jax.Array) -> jax.Array:
    """The level that a noisy one lies in, in [0, 1]."""
    levels = source.num_levels or 2
    image = jnp.clip(jnp.floor(x * levels), 0, levels - 1) / (levels - 1)
    return image.reshape(*x.shape[:-1], *source.shape)


def save_pictures(out: Path, source: Source, samples: dict[str, np.ndarray]) -> None:
    if source.num_levels is not None:
        for name, x in samples.items():
            images = np.asarray(to_image(source, jnp.asarray(x[:100])))
            pictures.save_samples(out / f"{name.replace(' ', '-')}.png", images)
        return
    square = [[-5.0, 5.0], [-5.0, 5.0]]
    histogram = lambda x: np.histogram2d(x[:, 1], x[:, 0], bins=60, range=square)[0] ** 0.5
    row = {name: histogram(x) for name, x in ({"data": source.test} | samples).items()}
    pictures.save_fields(out / "samples.png", {"samples": row}, {"samples": (-5.0, 5.0, -5.0, 5.0)})


def table(config: Config, source: Source) -> study.Table:
    def cell(name: str, form: str) -> study.Column:
        """Without a likelihood term figures may be huge."""
        huge = lambda row: format(row[name], ".1e" if abs(row[name]) >= 1e5 else form)
        return lambda row: huge(row) if name in row else ""

    shown: dict[str, study.Column] = {"trained by": "{model}", "NLL": cell("nll", ".2f")}
    if source.num_levels is None:
        shown |= {"cond.": cell("log10_condition", ".1f"), "modes": "{covered}"}
        shown |= {"high quality": "{high_quality:.1%}"}
    else:
        shown |= {"bits/dim": cell("bits_per_dim", ".2f"), "cond.": cell("log10_condition", ".1f")}
        shown |= {"MODE": "{mode_score:.2f}", "Fréchet": "{frechet:.2f}"}
        shown |= {"precision": "{precision:.2f}", "recall": "{recall:.2f}"}
        shown |= {"classifier": "{classifier_accuracy:.1%}"}
    title = f"{config.dataset}, {config.flow}: NLL of {len(source.test)} test events in nats"
    return study.Table(title, shown | {"s": "{train_seconds:.0f}"})


def experiment(config: Config) -> study.Study:
    source = load(config)
    images = None if source.labels is None else source.images(source.labels)
    judge = images and study.judge_of(config, images)
    teams = {"MLE": players(config, None, has_critic=False)}
    teams["ADV"] = players(config, None, has_critic=True)
    for weight in config.likelihood_weight:
        teams[f"hybrid {weight:g}"] = players(config, weight, has_critic=True)
    variants: list[study.Variant | study.Computation] = [
        study.Variant(
            name=name,
            row={"model": name},
            build=lambda: build(config, source),
            players=team,
            data=np.asarray(source.train, np.float32),
            plan=config.plan(reports=20, transform=source.noisy),
        )
        for name, team in teams.items()
    ]
    if judge is not None:
        row, train = {"model": "(training images)"}, lambda directory: judge(directory.parent)
        variants.insert(0, study.Computation(name="classifier", row=row, compute=train))

    def measure(result: study.Result) -> dict[str, Any]:
        if images is not None and isinstance(result.model, study.Judge):
            seen, accuracy = result.model
            quality = sample_quality.of_images(seen, images.train[: config.samples], images.test)
            return {"classifier_accuracy": accuracy, **quality._asdict()}
        return evaluate(config, source, result.model.flow, judge and judge(result.out))

    def draw(out: Path, found: Sequence[study.Result]) -> None:
        key, flows = jax.random.key(config.seed + 1), [r for r in found if r.history]
        some = lambda flow: sample_quality.draw(
            jax.random.clone(key), flow, NUM_POINTS, lambda x: x
        )
        save_pictures(out, source, {r.name: np.asarray(some(r.model.flow)) for r in flows})

    return study.Study(
        variants=variants,
        measure=measure,
        draw=draw,
        tables=[table(config, source)],
        note="cond.: log10 of the condition number of the flow's Jacobian, median",
        facts={"samples": config.samples},
        units="nats per event, of a density on [0, 1] a dimension for images; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("flow_gan", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
