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
from genmix.data import grey, mixtures, toy_2d
from genmix.evaluation import pictures, sample_quality
from genmix.families import Flow, StandardNormal
from genmix.nets import MLP
from genmix.runs import command_line
from genmix.training import Game, Player

MARGIN = 0.05  # of the logit map
NUM_POINTS = 10_000
LOSSES = divergences.gan.wasserstein


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
    samples: study.Judged = 2000
    """Drawn for the table."""


class Source(NamedTuple):
    """Events as vectors: points, or levels of images before their noise."""

    train: np.ndarray
    test: np.ndarray
    levels: int = 0  # none of points
    images: grey.Images | None = None  # in [0, 1], for a classifier

    def noisy(self, key: jax.Array, x: jax.Array) -> jax.Array:
        """Levels with uniform noise in [0, 1]; points as they are."""
        return (x + jax.random.uniform(key, x.shape)) / self.levels if self.levels else x

    def to_image(self, x: jax.Array) -> jax.Array:
        """The level that a noisy one lies in, in [0, 1]; a point as it is."""
        if self.images is None:
            return x
        image = jnp.clip(jnp.floor(x * self.levels), 0, self.levels - 1) / (self.levels - 1)
        return image.reshape(*x.shape[:-1], *self.images.test.shape[1:])


def load(config: Config) -> Source:
    if config.dataset == "eight-gaussians":
        keys = jax.random.split(jax.random.key(0), 2 * NUM_POINTS)
        train, test = np.split(np.asarray(jax.vmap(toy_2d.eight_gaussians)(keys)), 2)
        return Source(train, test)
    dataset = data.load(config.dataset, config.data_dir, "levels")
    images = grey.load_images(config.dataset, config.data_dir)
    train, test = (x.reshape(len(x), -1) for x in (dataset.train, dataset.test))
    return Source(train, test, dataset.num_levels, images)


def build(config: Config, source: Source) -> Game:
    """Couplings with a permutation after each; images pass through a logit map.

    Without an adversarial term the critic stays as it is.
    """
    relu: dict[str, Any] = {"activation": jax.nn.relu, "rngs": nnx.Rngs(config.seed)}
    dim = source.train.shape[1]
    hidden = config.hidden or study.by_size((dim,), 64, 256)
    transformer = bij.Shift() if config.flow == "nice" else bij.ShiftScale()
    order = np.random.default_rng(0).permutation(dim).tolist() if dim > 2 else [1, 0]

    def layer() -> Any:
        outputs = transformer.num_parameters
        network = MLP(dim // 2, (hidden, hidden), dim - dim // 2, num_outputs=outputs, **relu)
        network.out.kernel[...] = 0.1 * network.out.kernel[...]  # a flow near the identity
        coupling = bij.coupling_layer(network, transformer, split=dim // 2)
        return bij.chain([coupling, bij.Permutation(order)])

    parts = [bij.repeated([layer() for _ in range(config.layers)]), bij.ActNorm(dim)]
    if source.levels:
        parts.append(bij.Sigmoid(margin=MARGIN))
    first = source.noisy(jax.random.key(1), jnp.asarray(source.train[:1000], jnp.float32))
    flow = Flow(StandardNormal(dim), bij.initialize(bij.chain(parts), first))
    widths = (4 * hidden, 4 * hidden)
    return Game(flow=flow, critic=MLP(dim, widths, 1, **relu))


def players(config: Config, weight: float | None, *, has_critic: bool) -> list[Player]:
    """Of the hybrid; of the pure game without a weight; of maximum likelihood without a critic."""
    adam = lambda steps: optax.chain(
        optax.clip_by_global_norm(100.0), optax.adam(config.falling(steps), b1=0.5, b2=0.9)
    )
    likelihood = objectives.elbo(name="log_prob")  # minus its mean, in nats
    if not has_critic:
        return [Player(name="flow", loss=likelihood.of("flow"), optimizer=adam(config.steps))]
    loss = objectives.generator(objectives.data, LOSSES)
    if weight is not None:
        loss += weight * likelihood
    judged = objectives.critic(objectives.data, LOSSES) + 10.0 * objectives.wgan_gp(objectives.data)
    critic = Player(
        name="critic",
        loss=judged.of("flow"),
        optimizer=adam(config.steps * config.critic_steps),
        steps=config.critic_steps,
    )
    return [critic, Player(name="flow", loss=loss.of("flow"), optimizer=adam(config.steps))]


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
    x = source.noisy(jax.random.key(0), jnp.asarray(source.test, jnp.float32))
    with np.errstate(over="ignore", invalid="ignore"):  # without a likelihood term it may be huge
        likelihood = evaluation.log_likelihood(nll_key, flow, x, num_particles=1)
        log_px = likelihood.log_px.astype(np.float64)
        mean, error = float(np.mean(log_px)), np.std(log_px, ddof=1) / math.sqrt(len(log_px))
    figures = {
        "nll": -mean,
        "nll_standard_error": float(error),
        "log10_condition": float(log_condition(jacobian_key, flow)),
    }
    samples = sample_quality.draw(sample_key, flow, config.samples, source.to_image)
    if judge is not None:
        bits = evaluation.bits_per_dim_unit_interval(mean, x.shape[1], source.levels)
        return figures | {"bits_per_dim": bits} | judge.quality(samples)
    centres = math.sqrt(2) * mixtures.BY_NAME["eight-gaussians"].centres  # of radius 4 / sqrt(2)
    return figures | sample_quality.modes(samples, centres, 0.5 / math.sqrt(2))._asdict()


def draw(config: Config, source: Source, out: Path, found: Sequence[study.Result]) -> None:
    """Samples of each flow; in the plane their histograms beside that of the data."""
    sample = lambda flow, number: sample_quality.draw(
        jax.random.key(config.seed + 1), flow, number, source.to_image
    )
    flows = {it.name: it.model.flow for it in found if it.history}
    if source.levels:
        for name, flow in flows.items():
            pictures.save_samples(out / f"{name.replace(' ', '-')}.png", sample(flow, 100))
    else:
        drawn = {name: sample(flow, NUM_POINTS) for name, flow in flows.items()}
        rows = {"samples": {"data": source.test, **drawn}}
        pictures.save_histograms(out / "samples.png", rows, reach=5.0)


def table(config: Config, source: Source) -> study.Table:
    def cell(name: str, form: str) -> study.Column:
        """Without a likelihood term figures may be huge."""
        huge = lambda row: format(row[name], ".1e" if abs(row[name]) >= 1e5 else form)
        return lambda row: huge(row) if name in row else ""

    shown: dict[str, study.Column] = {"trained by": "{model}", "NLL": cell("nll", ".2f")}
    condition = cell("log10_condition", ".1f")
    if source.levels:
        shown |= {"bits/dim": cell("bits_per_dim", ".2f"), "cond.": condition, **study.QUALITY}
        shown |= {"classifier": "{classifier_accuracy:.1%}"}
    else:
        shown |= {"cond.": condition, "modes": "{covered}", "high quality": "{high_quality:.1%}"}
    title = f"{config.dataset}, {config.flow}: NLL of {len(source.test)} test events in nats"
    return study.Table(title, shown | {"s": "{train_seconds:.0f}"})


def experiment(config: Config) -> study.Study:
    source = load(config)
    judge = source.images and study.judge_of(config, source.images)
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
    if judge and source.images:
        row, some = {"model": "(training images)"}, source.images.train[: config.samples]
        variants.insert(0, study.judged_data("classifier", row, judge, some))

    def measure(result: study.Result) -> dict[str, Any]:
        if not result.history:  # the data's own figures
            return result.model
        return evaluate(config, source, result.model.flow, judge and judge(result.out))

    return study.Study(
        variants=variants,
        measure=measure,
        draw=lambda out, found: draw(config, source, out, found),
        tables=[table(config, source)],
        note="cond.: log10 of the condition number of the flow's Jacobian, median",
        facts={"samples": config.samples},
        units="nats per event, of a density on [0, 1] a dimension for images; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("flow_gan", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
