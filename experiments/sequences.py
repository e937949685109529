"""Music by models with latents in every step: python -m experiments.sequences --data-dir DIR.

Each model is trained by the ELBO, by importance-weighted whole sequences, and by a particle filter
(FIVO), with N particles each; all are judged by all three bounds, beside models without latents.
"""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import study
from experiments.sequential import models
from experiments.sequential.config import Config
from genmix import data, evaluation, objectives
from genmix.data import pianorolls, ragged
from genmix.data.ragged import RaggedDataset
from genmix.evaluation import baselines, pictures
from genmix.families import Filtered
from genmix.families.sequence import unrolled
from genmix.families.sequence.unrolled import Unrolled
from genmix.runs import command_line
from genmix.training import Player

BUCKETS = 2  # shapes of test sequences, each compiled for
PIECES, SHOWN = 3, 64  # in the picture, and steps of each


def load(config: Config) -> RaggedDataset:
    if config.dataset != "digits":
        return pianorolls.load(config.dataset, config.data_dir)
    digits = data.load("digits")
    bits = lambda x: list(ragged.image_rows(np.round(x)))
    return RaggedDataset("digits", bits(digits.train), [], bits(digits.test))


def per_step(log_px: np.ndarray, sequences: list[np.ndarray]) -> tuple[float, float]:
    """-log p(x) of all sequences over their steps, and its standard error over sequences."""
    lengths = np.array([len(s) for s in sequences])
    nll = -log_px.sum() / lengths.sum()
    residual = -log_px - nll * lengths
    return float(nll), float(np.sqrt(np.sum(residual**2)) / lengths.sum())


def log_evidence(config: Config, model: Any, x: list[np.ndarray], particles: int) -> np.ndarray:
    """Log of the mean of so many weights of each sequence, in buckets of like lengths."""
    log_px = np.zeros(len(x))
    for index, padded in ragged.buckets(x, BUCKETS):
        key = jax.random.key(config.seed + 1)
        found = evaluation.log_likelihood(key, model, padded, num_particles=particles)
        log_px[index] = found.log_px
    return log_px


def measure(config: Config, dataset: RaggedDataset, model: models.Steps) -> dict[str, Any]:
    """All bounds on the test sequences, in nats a step."""
    n, path, figures = config.test_particles, Unrolled(model), {}
    judged = {"elbo": (path, 1), "iwae": (path, n), "fivo": (Filtered(model, n), 1)}
    for name, (bounded, particles) in judged.items():
        log_px = log_evidence(config, bounded, dataset.test, particles)
        figures[name], figures[f"{name}_error"] = per_step(log_px, dataset.test)
    return figures


def shown(model: models.Steps, key: jax.Array, x: jax.Array) -> tuple[jax.Array, ...]:
    """Means of the keys given z from the posterior and from the prior; and music made up."""
    start, inputs = model.start(x)

    def visit(carry: Any, step: Any) -> Any:
        t, inputs = step
        return models.one_step(model, jax.random.fold_in(key, t), carry, inputs)

    _, (inferred, expected) = jax.lax.scan(visit, start, (jnp.arange(len(x)), inputs))
    return inferred, expected, unrolled.generate(model, key, len(x))


def draw(config: Config, dataset: RaggedDataset, result: study.Result) -> None:
    """rolls.png: a row for each piece of the test set, keys upwards, steps to the right."""
    steps = min(SHOWN, *map(len, dataset.test[:PIECES]))
    x = jnp.stack([jnp.asarray(s[:steps]) for s in dataset.test[:PIECES]])
    panels = jax.jit(jax.vmap(shown, (None, 0, 0)))
    drawn = (x, *panels(result.model.model, jax.random.split(config.key, len(x)), x))
    names = ("data", "from the posterior", "from the prior", "made up")
    piece = lambda i: {n: np.asarray(roll[i]).T for n, roll in zip(names, drawn, strict=True)}
    rows = {f"piece {i + 1}": piece(i) for i in range(len(x))}
    extents = dict.fromkeys(rows, (0.0, float(steps), 0.0, float(x.shape[-1])))
    pictures.save_fields(result.directory / "rolls.png", rows, extents)


def without_latents(dataset: RaggedDataset) -> list[study.Row]:
    """Rows of models that know each key alone."""
    every = np.concatenate(dataset.train)
    alone = [baselines.independent_bernoulli(every, s).sum() for s in dataset.test]
    chains = baselines.markov_bernoulli(dataset.train, dataset.test)
    known = {"independent Bernoulli": np.array(alone), "a chain a key": chains}
    figures = {name: per_step(log_px, dataset.test) for name, log_px in known.items()}
    return [{"model": name, "exact": it[0], "exact_error": it[1]} for name, it in figures.items()]


def experiment(config: Config) -> study.Study:
    dataset = load(config)
    train = ragged.pad(ragged.cut(dataset.train, config.piece))
    optimizer = lambda: optax.chain(optax.clip_by_global_norm(10.0), optax.adam(config.falling()))

    def variant(model: str, objective: str, n: int) -> study.Variant:
        beta = optax.linear_schedule(0.0, 1.0, config.warm_up) if config.warm_up else 1.0
        by_elbo = objectives.elbo(rate=objectives.Rate(beta=beta if objective == "elbo" else 1.0))
        term = objectives.iwae(n) if objective == "iwae" else by_elbo
        bounded = lambda model: Filtered(model, n) if objective == "fivo" else Unrolled(model)
        name = "ELBO" if objective == "elbo" else f"{objective.upper()} N={n}"
        which = "" if config.model == ("vrnn",) else f"{model} "
        return study.Variant(
            name=f"{which}{name}",
            row={"model": f"{which}trained by {name}"},
            build=lambda: bounded(models.build(config, dataset, model)),
            players=[Player(loss=term, optimizer=optimizer())],
            data=train,
            plan=config.plan(),
        )

    each = itertools.product(config.model, config.objective, config.particles)
    trained = dict.fromkeys((m, o, 1 if o == "elbo" else n) for m, o, n in each)
    both = lambda name: study.known(f"{{{name}:.3f}} ± {{{name}_error:.3f}}")
    columns = {
        "model": "{model}",
        "exact": both("exact"),
        "ELBO": both("elbo"),
        "IWAE": both("iwae"),
        "FIVO": both("fivo"),
        "training": study.known("{train_seconds:.0f} s"),
    }
    title = (
        "{dataset}: NLL or its bound in nats a step (all steps count alike), N = {test_particles}"
    )
    return study.Study(
        variants=[variant(*it) for it in trained],
        before=without_latents(dataset),
        measure=lambda result: measure(config, dataset, result.model.model),
        draw_each=lambda result: draw(config, dataset, result),
        tables=[study.Table(title, columns)],
        units="nats per step, the sum over all test sequences by the sum of their steps; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("sequences", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
