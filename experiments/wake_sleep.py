"""Sigmoid belief networks by wake-sleep and its kin: python -m experiments.wake_sleep.

A net of bits above bits. Wake-sleep teaches it from one inferred draw, its posterior from dreams;
reweighted wake-sleep weighs several draws, from which its posterior may learn too. Beside them are
two that have gradients of a bound for both, by score functions. Defaults train on scikit-learn's
digits in minutes on two CPU cores; `--seed` gives the spread.

Source: Hinton, Dayan, Frey & Neal (1995), The wake-sleep algorithm for unsupervised neural
networks; Bornschein & Bengio (2015), arXiv:1406.2751.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments import study
from genmix import bounds, evaluation, objectives
from genmix.bounds import baselines
from genmix.data import Dataset
from genmix.densities import bernoulli
from genmix.evaluation import pictures
from genmix.families import Bernoulli, LatentVariableModel, Unconditional
from genmix.nets import MLP
from genmix.objectives import Term, sleep, wake
from genmix.runs import command_line
from genmix.training import Player

Name = Literal[
    "wake-sleep", "reweighted, q wakes", "reweighted, q sleeps", "reweighted, both", "VIMCO",
    "score function",
]  # fmt: skip
MOST_SUMMED = 12  # bits


class Phases(NamedTuple):
    """What the model and what its posterior learns from."""

    p: Term
    q: Term


def phases(k: int) -> Mapping[Name, Phases]:
    bound = objectives.vimco(k)
    mean = objectives.elbo(k, estimator=bounds.score_function(baselines.leave_one_out))
    return MappingProxyType(
        {
            "wake-sleep": Phases(wake(1), sleep()),
            "reweighted, q wakes": Phases(wake(k), wake(k)),
            "reweighted, q sleeps": Phases(wake(k), sleep()),
            "reweighted, both": Phases(wake(k), wake(k) + sleep()),
            "VIMCO": Phases(bound, bound),
            "score function": Phases(mean, mean),
        }
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.OnImages):
    """One row of the table for each algorithm."""

    model: study.Each[Name] = tuple(phases(2))
    layers: tuple[study.Count, ...] = (50, 20)
    """Bits of each layer, the one nearest the data first. Of one layer of at most 12 bits the
    likelihood is exact, too."""
    k: study.Count = 5
    """Particles of all but wake-sleep."""
    steps: study.Count = 10_000
    batch_size: study.Count = 50
    learning_rate: study.Positive = 5e-3
    """At the start; it falls to zero along a cosine."""
    particles: study.Count = 1000
    """Particles of the NLL estimate."""

    def __post_init__(self):
        super().__post_init__()
        if not self.layers:
            raise ValueError("layers must name at least one, got ().")
        if self.k < 2:
            raise ValueError(
                f"k must be at least 2, got {self.k}: of one particle a posterior learns nothing "
                "awake, and nothing else is left out for a baseline."
            )


def build(config: Config, dataset: Dataset) -> LatentVariableModel:
    """Every layer is linear in the one above or below it."""
    rngs, shape = nnx.Rngs(config.seed), dataset.train.shape[1:]
    linear = lambda a, b: MLP(a, (), b, rngs=rngs)
    model: Any = Unconditional(bernoulli.Bernoulli(), config.layers[-1], trained=True)
    sizes: list[Any] = [shape, *config.layers]
    for below, above in reversed(list(itertools.pairwise(sizes))):
        model = LatentVariableModel(
            prior=model,
            likelihood=Bernoulli(linear(above, below)),
            posterior=Bernoulli(linear(below, above)),
        )
    return model


def players(config: Config, name: Name) -> list[Player]:
    """The net and its posteriors, of one layer each."""
    depth = len(config.layers)
    layers = ["prior." * l for l in range(depth)]
    p = [f"{layer}likelihood" for layer in layers] + ["prior." * (depth - 1) + "prior"]
    q = [f"{layer}posterior" for layer in layers]
    loss = phases(config.k)[name]
    adam = lambda: optax.adam(config.falling())
    return [
        Player(name="p", owns=p, loss=loss.p, optimizer=adam()),
        Player(name="q", owns=q, loss=loss.q, optimizer=adam()),
    ]


def exact_log_prob(model: LatentVariableModel, x: jax.Array) -> jax.Array:
    """log p(x) of a net of one layer, in nats, by the sum over all of its bits."""
    bits = model.posterior.event_shape[0]
    z = jnp.asarray(np.arange(2**bits)[:, None] >> np.arange(bits) & 1, jnp.float32)
    log_joint = lambda z, x: model.prior.log_prob(z) + model.likelihood.log_prob(x, z)
    one = lambda x: jax.nn.logsumexp(jax.vmap(log_joint, (0, None))(z, x))
    return jax.lax.map(one, x)


def evaluate(config: Config, dataset: Dataset, model: LatentVariableModel) -> dict[str, Any]:
    """Figures on the test images, in nats an image."""
    nll_key, elbo_key = jax.random.split(config.key)
    x = jnp.asarray(dataset.test)
    bound = evaluation.elbo(elbo_key, model, x, num_samples=20)
    figures = study.nll(nll_key, model, x, config.particles)
    if len(config.layers) == 1 and config.layers[0] <= MOST_SUMMED:
        figures["exact_nll"] = float(-jnp.mean(jax.jit(exact_log_prob)(model, x)))
    return {**figures, "elbo": bound.elbo, "rate": bound.rate}


def draw(config: Config, out: Path, found: Sequence[study.Result]) -> None:
    """For each model two rows of means of x given dreamed z."""

    def mean(model: Any, key: jax.Array) -> jax.Array:
        return model.likelihood.mean(model.prior.sample(key))

    keys = lambda: jax.random.split(config.key, 20)  # the same for every model
    rows = [jax.vmap(lambda key, m=it.model: mean(m, key))(keys()) for it in found]
    pictures.save_samples(out / "dreams.png", jnp.concatenate(rows))


def experiment(config: Config) -> study.Study:
    dataset = config.load()
    if dataset.num_levels != 2:
        raise ValueError(f"{dataset.name} has grey levels, and this experiment is about bits.")
    variant = lambda name: study.Variant(
        name=name,
        row={"model": name},
        build=lambda: build(config, dataset),
        players=players(config, name),
        data=dataset.train,
        plan=config.plan(transform=dataset.transform),
    )
    columns = {
        "model": "{model}",
        **study.NLL,
        "exactly": study.known("{exact_nll:.2f}"),
        "ELBO": "{elbo:.2f}",
        "KL": "{rate:.2f}",
        "s": "{train_seconds:.0f}",
    }
    title = f"{dataset.name}: nats an image, NLL with {config.particles} particles"
    return study.Study(
        variants=[variant(name) for name in config.model],
        before=[evaluation.baselines.independent_pixels(dataset)],
        measure=lambda it: evaluate(config, dataset, it.model),
        draw=lambda out, found: draw(config, out, found),
        tables=[study.Table(title, columns)],
        facts={"dataset": dataset.name, "nll_particles": config.particles},
        units="nats per image; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("wake_sleep", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
