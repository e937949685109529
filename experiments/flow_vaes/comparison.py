"""Train and evaluate one VAE after the other on the same images."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import optax

from experiments import study
from genmix import data, evaluation, objectives
from genmix.data import Dataset
from genmix.nets import state
from genmix.objectives import Rate
from genmix.training import Player, Validation


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(study.OnImages):
    """What all that compare VAEs let the user choose."""

    dataset: Literal["digits", "mnist", "binarized-mnist", "caltech-silhouettes"] = "digits"
    batch_size: study.Count = 50
    learning_rate: study.Positive = 2e-3
    """At the start; it falls to zero along a cosine."""
    warm_up: study.Count | None = None
    """Steps over which the weight of the rate rises from 0; a fifth of all if not given."""
    free_nats: study.NotNegative = 0.0
    """Nats that each layer of latents may cost, on average, without being pressed further."""
    patience: study.Count | None = None
    """Stop after this many twentieths of the run without a better validation bound."""
    particles: study.Count = 1000
    """Particles of the NLL estimate."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlowSettings(Settings):
    """What those with flows let the user choose, too."""

    flows: study.Count = 4
    """Layers of each flow; of the Householder posterior, reflections."""
    latent: study.Count | None = None
    """Dimensions of z; 20 for the digits, 40 for larger images."""
    hidden: study.Count | None = None
    """Width of all hidden layers; 100 for the digits, 300 for larger images."""


def compare(
    settings: Settings,
    names: Sequence[str],
    build: Callable[[Dataset, str], Any],
    figures_of: Callable[[study.Result], Mapping[str, Any]],
    columns: Mapping[str, study.Column],
    draw_each: Callable[[study.Result], object] = lambda result: None,
    draw: Callable[[Path, Sequence[study.Result]], object] = lambda out, found: None,
) -> study.Study:
    """A row, a curve and checkpoints for every named model.

    Args:
        figures_of: more of a row.
        columns: of the printed table.
    """
    dataset = settings.load()
    data.require(dataset, batch_size=settings.batch_size, patience=settings.patience)

    def draw_all(out: Path, found: Sequence[study.Result]) -> None:
        study.save_curves(out, found, "elbo", "training ELBO (nats)", y_quantile=0.2)
        draw(out, found)

    return study.Study(
        variants=[variant(settings, dataset, name, build) for name in names],
        measure=lambda it: {**figures_of(it), **figures(settings, dataset, it.model)},
        draw_each=draw_each,
        draw=draw_all,
        tables=[study.Table("{dataset}: nats an image, NLL with {particles} particles", columns)],
        facts={
            "dataset": dataset.name,
            "test_images": len(dataset.test),
            "nll_particles": settings.particles,
        },
        units="nats per image; seconds",
    )


def variant(
    settings: Settings, dataset: Dataset, name: str, build: Callable[[Dataset, str], Any]
) -> study.Variant:
    """By the ELBO with warm-up; where there are validation images, the best on them is kept."""
    steps = settings.steps
    warm_up = settings.warm_up or max(steps // 5, 1)
    rate = Rate(beta=optax.linear_schedule(0.0, 1.0, warm_up), free_nats=settings.free_nats)
    optimizer = optax.chain(optax.clip_by_global_norm(100.0), optax.adam(settings.falling()))
    score = lambda model: evaluation.elbo(settings.key, model, dataset.valid, num_samples=1).elbo
    has_valid = len(dataset.valid) > 0
    return study.Variant(
        name=name,
        row={},
        build=lambda: build(dataset, name),
        players=[Player(loss=objectives.elbo(rate=rate), optimizer=optimizer)],
        data=dataset.train,
        plan=settings.plan(
            reports=20,
            transform=dataset.transform,
            validation=Validation(score, max(steps // 20, 1), settings.patience)
            if has_valid
            else None,
        ),
    )


def figures(settings: Settings, dataset: Dataset, model: Any) -> dict[str, Any]:
    """Bounds on the test images, in nats an image."""
    elbo_key, nll_key, unit_key = jax.random.split(settings.key, 3)
    likelihood = evaluation.log_likelihood(
        nll_key, model, dataset.test, num_particles=settings.particles
    )
    bound = evaluation.elbo(elbo_key, model, dataset.test)
    return {
        "elbo": bound.elbo,
        "negative_elbo": -bound.elbo,
        "elbo_standard_error": bound.standard_error,
        "nll": likelihood.nll,
        "gap": -bound.elbo - likelihood.nll,
        "nll_standard_error": likelihood.standard_error,
        "layer_rates": np.mean(bound.rates, axis=0).tolist(),
        **study.units(unit_key, model, dataset.test),
        "parameters": state.num_parameters(model),
    }
