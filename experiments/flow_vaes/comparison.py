"""Train and evaluate one VAE after the other on the same images."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import optax

from genmix import data, evaluation, objectives
from genmix.data import Dataset
from genmix.evaluation import pictures
from genmix.families import VampModel
from genmix.nets import state
from genmix.objectives import Rate
from genmix.runs import command_line, run_directory
from genmix.training import Fit, Plan, Player, Validation, fit


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What both experiments let the user choose."""

    dataset: Literal["digits", "mnist", "binarized-mnist", "caltech-silhouettes"] = "digits"
    data_dir: Path | None = None
    """Folder that holds mnist/, binarized_mnist/, ...; the digits need none."""
    flows: int = 4
    """Layers of each flow; of the Householder posterior, reflections."""
    latent: int | None = None
    """Dimensions of z; 20 for the digits, 40 for larger images."""
    hidden: int | None = None
    """Width of all hidden layers; 100 for the digits, 300 for larger images."""
    steps: int = 5000
    batch_size: int = 50
    learning_rate: float = 2e-3
    """At the start; it falls to zero along a cosine."""
    warm_up: int | None = None
    """Steps over which the weight of the rate rises from 0; a fifth of all if not given."""
    patience: int | None = None
    """Stop after this many twentieths of the run without a better validation bound."""
    particles: int = 1000
    """Particles of the NLL estimate."""
    limit: int | None = None
    """Images to validate and to test on, at most, evenly spaced in their sets; all by default."""
    seed: int = 0
    out: Path | None = None
    """Directory of the run; runs/NAME/TIME if not given."""
    resume: bool = False
    """Go on with the run in --out, bit for bit."""
    debug: bool = False
    """If a number is not finite, name the operation that made it so; it may go with --resume."""

    def __post_init__(self):
        command_line.require(
            self,
            counts=("flows", "latent", "hidden", "steps", "batch_size", "particles", "warm_up",
                    "patience", "limit"),
            positive=("learning_rate",),
        )  # fmt: skip


def compare(
    experiment: str,
    settings: Settings,
    names: Sequence[str],
    build: Callable[[Dataset, str], Any],
    finish: Callable[[str, Any, Path], Mapping[str, Any]],
    columns: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Leave the figures, curves and checkpoints of every named model behind; one row each.

    Args:
        finish: (name, trained model, its directory) -> more of its row.
        columns: of the printed table.
    """
    start = time.perf_counter()
    dataset = data.thinned(data.load(settings.dataset, settings.data_dir), settings.limit)
    data.require(dataset, batch_size=settings.batch_size, patience=settings.patience)
    for name in names:  # before anything is trained and written
        try:
            jax.eval_shape(lambda name=name: build(dataset, name))
        except ValueError as error:
            raise ValueError(f"{name} cannot be built: {error}") from error
    out = run_directory.begin(experiment, settings)
    rows, curves = [], {}
    for name in names:
        trained = train(settings, dataset, build(dataset, name), out / name)
        row = figures(settings, dataset, trained.model) | {"train_seconds": trained.seconds}
        rows.append({**finish(name, trained.model, out / name), **row})
        curves[name] = trained.history["elbo"]
    pictures.save_curves(
        out / "curves.png", curves, x_label="step", y_label="training ELBO (nats)", y_quantile=0.2
    )
    title = f"{dataset.name}: nats an image, NLL with {settings.particles} particles"
    more = lambda row: {"negative_elbo": -row["elbo"], "gap": -row["elbo"] - row["nll"]}
    command_line.print_table(title, columns, [row | more(row) for row in rows])
    run_directory.write_results(
        out,
        start,
        units="nats per image; seconds",
        dataset=dataset.name,
        test_images=len(dataset.test),
        nll_particles=settings.particles,
        seed=settings.seed,
        rows=rows,
    )
    samples = ["*/samples.png"] if any(out.glob("*/samples.png")) else []
    command_line.print_paths(out, *samples, "curves.png")
    return rows


def train(settings: Settings, dataset: Dataset, model: Any, directory: Path) -> Fit:
    """By the ELBO with warm-up; where there are validation images, the best on them is kept."""
    steps = settings.steps
    rate = Rate(beta=optax.linear_schedule(0.0, 1.0, settings.warm_up or max(steps // 5, 1)))
    learning_rate = optax.cosine_decay_schedule(settings.learning_rate, steps)
    optimizer = optax.chain(optax.clip_by_global_norm(100.0), optax.adam(learning_rate))
    every = max(steps // 20, 1)

    def score(model: Any) -> float:
        key = jax.random.key(settings.seed)
        return evaluation.elbo(key, model, dataset.valid, num_samples=1).elbo

    has_valid = len(dataset.valid) > 0
    plan = Plan(
        num_rounds=steps,
        batch_size=settings.batch_size,
        transform=data.binarize if dataset.binarization == "dynamic" else None,
        rounds_per_call=every,
        validation=Validation(score, every, settings.patience) if has_valid else None,
        directory=directory,
        resume=settings.resume,
        debug=settings.debug,
        label=directory.name,
    )
    player = Player(loss=objectives.elbo(rate=rate), optimizer=optimizer)
    return fit(jax.random.key(settings.seed), model, [player], dataset.train, plan)


def figures(settings: Settings, dataset: Dataset, model: Any) -> dict[str, Any]:
    """Bounds on the test images, in nats an image."""
    elbo_key, nll_key, unit_key = jax.random.split(jax.random.key(settings.seed), 3)
    likelihood = evaluation.log_likelihood(
        nll_key, model, dataset.test, num_particles=settings.particles
    )
    bound = evaluation.elbo(elbo_key, model, dataset.test)
    plain = without_pseudo_inputs(model)
    (active,) = evaluation.active_units(unit_key, plain, dataset.test)
    return {
        "elbo": bound.elbo,
        "elbo_standard_error": bound.standard_error,
        "nll": likelihood.nll,
        "nll_standard_error": likelihood.standard_error,
        "active_units": int(np.sum(active)),
        "parameters": state.num_parameters(model),
    }


def without_pseudo_inputs(model: Any) -> Any:
    """The model with its prior as a density of its own, if it is a VampModel's."""
    return model.model if isinstance(model, VampModel) else model
