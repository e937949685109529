"""VAEs with flows for posteriors: python -m experiments.flow_posteriors.

Decoder, prior and encoder are the same for all; the posteriors differ in what the flow makes of a
normal with independent entries, and all their parameters depend on x. Defaults train on
scikit-learn's digits in minutes on two CPU cores.
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
from flax import nnx
from rich.console import Console
from rich.table import Table

from genmix import bijectors as bij
from genmix import command_line, data, evaluation
from genmix.data import Dataset
from genmix.evaluation import pictures
from genmix.families import (
    Bernoulli,
    FactorizedNormal,
    LatentVariableModel,
    StandardNormal,
    log_weight,
    transformed,
)
from genmix.nets import MADE, MLP
from genmix.training import Fit, Plan, Player, Rate, fit, objectives, run_directory

Posterior = Literal[
    "diagonal",
    "planar",
    "radial",
    "householder",
    "sylvester-orthogonal",
    "sylvester-householder",
    "sylvester-triangular",
    "iaf",
    "naf",
]
DRAWS = 100  # of z for each image in the estimate of the ELBO


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """One VAE is trained for each posterior, from the same seed."""

    dataset: Literal["digits", "mnist", "binarized-mnist", "caltech-silhouettes"] = "digits"
    data_dir: Path | None = None
    """Folder that holds mnist/, binarized_mnist/, ...; the digits need none."""
    posterior: tuple[Posterior, ...] = (
        "diagonal",
        "planar",
        "radial",
        "householder",
        "sylvester-orthogonal",
        "sylvester-householder",
        "sylvester-triangular",
        "iaf",
        "naf",
    )
    flows: int = 4
    """Flows one after the other, or reflections."""
    columns: int = 8
    """Columns of orthogonal, reflections of Householder Sylvester flows."""
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
    particles: int = 1000
    """Particles of the NLL estimate."""
    seed: int = 0
    out: Path | None = None
    """Directory of the run; runs/flow_posteriors/TIME if not given."""
    resume: bool = False
    """Go on with the run in --out, bit for bit."""
    debug: bool = False
    """If a number is not finite, name the operation that made it so; it may go with --resume."""

    def __post_init__(self):
        counts = ("flows", "columns", "latent", "hidden", "steps", "batch_size", "particles")
        for name in (*counts, "warm_up"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        if not self.posterior:
            raise ValueError("posterior needs at least one name, got none.")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}.")
        if self.resume and self.out is None:
            raise ValueError("resume needs --out DIR, the run to go on with.")


def sizes(config: Config, dataset: Dataset) -> tuple[int, int]:
    """Dimensions of z and width of the hidden layers."""
    is_small = math.prod(dataset.train.shape[1:]) < 500
    return config.latent or (20 if is_small else 40), config.hidden or (100 if is_small else 300)


class Features(nnx.Module):
    """What all parameters of a posterior are computed from: two tanh layers on x."""

    def __init__(self, shape: tuple[int, ...], hidden: int, *, rngs: nnx.Rngs):
        self.network = MLP(shape, (hidden,), hidden, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.tanh(self.network(x))


def flow(config: Config, name: str, dim: int, hidden: int, rngs: nnx.Rngs) -> Any:
    """A bijector on z whose condition is what `Features` gives; none for the diagonal posterior."""
    columns = min(config.columns, dim)
    elementary: dict[str, Callable[[], Any]] = {
        "planar": lambda: bij.Planar(dim, rngs=rngs),
        "radial": lambda: bij.Radial(dim, rngs=rngs),
        "sylvester-orthogonal": lambda: bij.OrthogonalSylvester(dim, columns, rngs=rngs),
        "sylvester-householder": lambda: bij.HouseholderSylvester(dim, columns, rngs=rngs),
        "sylvester-triangular": lambda: bij.chain(
            [bij.TriangularSylvester(dim, rngs=rngs), bij.Reverse()]
        ),
    }
    transformers = {"iaf": bij.Gate(bias=1.0), "naf": bij.DeepSigmoid(num_units=8)}
    if name in transformers:
        transformer = transformers[name]

        def layer() -> Any:
            made = MADE(dim, (hidden,), transformer.num_parameters, cond_size=hidden, rngs=rngs)
            return bij.chain([bij.inverse_autoregressive(made, transformer), bij.Reverse()])

        return bij.repeated([layer() for _ in range(config.flows)])
    if name == "householder":
        bijector = bij.Householder(dim, config.flows, rngs=rngs)
    else:
        bijector = bij.repeated([elementary[name]() for _ in range(config.flows)])
    small = nnx.initializers.variance_scaling(0.01, "fan_avg", "uniform")
    size = bij.num_parameters(bijector)
    return bij.amortized(bijector, nnx.Linear(hidden, size, kernel_init=small, rngs=rngs))


def build(config: Config, dataset: Dataset, name: str) -> LatentVariableModel:
    shape, rngs = dataset.train.shape[1:], nnx.Rngs(config.seed)
    latent, hidden = sizes(config, dataset)
    decoder = MLP(latent, (hidden, hidden), shape, rngs=rngs)
    means = np.clip(np.mean(dataset.train, axis=0), 1e-3, 1 - 1e-3)
    logits = np.log(means / (1 - means)).reshape(-1)
    decoder.out.bias = nnx.Param(jnp.asarray(logits, jnp.float32))
    encoder = Features(shape, hidden, rngs=rngs)
    base = FactorizedNormal(nnx.Linear(hidden, 2 * latent, rngs=rngs))
    nothing = bij.Permutation(range(latent))
    bijector = nothing if name == "diagonal" else flow(config, name, latent, hidden, rngs)
    return LatentVariableModel(
        prior=StandardNormal(latent),
        likelihood=Bernoulli(decoder),
        posterior=transformed(base, bijector, encoder=encoder),
    )


def train(config: Config, dataset: Dataset, name: str, out: Path) -> Fit:
    rate = Rate(beta=optax.linear_schedule(0.0, 1.0, config.warm_up or max(config.steps // 5, 1)))
    learning_rate = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    optimizer = optax.chain(optax.clip_by_global_norm(100.0), optax.adam(learning_rate))
    plan = Plan(
        num_rounds=config.steps,
        batch_size=config.batch_size,
        transform=data.binarize if dataset.binarization == "dynamic" else None,
        rounds_per_call=max(config.steps // 20, 1),
        directory=out / name,
        resume=config.resume,
        debug=config.debug,
        label=name,
    )
    player = Player(loss=objectives.elbo(rate=rate), optimizer=optimizer)
    model = build(config, dataset, name)
    return fit(jax.random.key(config.seed), model, [player], dataset.train, plan)


@jax.jit
def elbos(key: jax.Array, model: LatentVariableModel, x: jax.Array) -> jax.Array:
    """ELBO of each image, in nats, a mean of draws."""

    def one(pair):
        keys = jax.random.split(pair[0], DRAWS)
        return jnp.mean(jax.vmap(lambda key: log_weight(model, key, pair[1]))(keys))

    return jax.lax.map(one, (jax.random.split(key, len(x)), x), batch_size=100)


def evaluate(
    config: Config, dataset: Dataset, name: str, model: LatentVariableModel
) -> dict[str, Any]:
    elbo_key, nll_key, unit_key = jax.random.split(jax.random.key(config.seed), 3)
    likelihood = evaluation.log_likelihood(
        nll_key, model, dataset.test, num_particles=config.particles
    )
    count = lambda part: sum(leaf.size for leaf in jax.tree.leaves(nnx.state(part, nnx.Param)))
    return {
        "posterior": name,
        "elbo": float(jnp.mean(elbos(elbo_key, model, jnp.asarray(dataset.test)))),
        "nll": likelihood.nll,
        "nll_standard_error": likelihood.standard_error,
        "active_units": int(np.sum(evaluation.active_units(unit_key, model, dataset.test)[0])),
        "posterior_parameters": count(model.posterior),
        "parameters": count(model),
    }


def print_table(config: Config, dataset: Dataset, rows: list[dict[str, Any]]) -> None:
    table = Table(title=f"{dataset.name}: nats an image, NLL with {config.particles} particles")
    for name in ("posterior", "-ELBO", "NLL", "±", "gap", "active", "parameters of q", "s"):
        table.add_column(name, justify="left" if name == "posterior" else "right")
    for row in rows:
        table.add_row(
            row["posterior"],
            f"{-row['elbo']:.2f}",
            f"{row['nll']:.2f}",
            f"{row['nll_standard_error']:.2f}",
            f"{-row['elbo'] - row['nll']:.2f}",
            str(row["active_units"]),
            f"{row['posterior_parameters']:,}",
            f"{row['train_seconds']:.0f}",
        )
    Console().print(table)


def main(config: Config) -> list[dict[str, Any]]:
    start = time.perf_counter()
    dataset = data.load(config.dataset, config.data_dir)
    if config.batch_size > len(dataset.train):
        raise ValueError(
            f"batch_size must be at most {len(dataset.train)}, the training images of "
            f"{dataset.name}; got {config.batch_size}."
        )
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    out = config.out or Path("runs") / "flow_posteriors" / stamp
    settings = dataclasses.asdict(config)
    for local in ("out", "resume", "debug", "data_dir"):
        settings.pop(local)
    run_directory.prepare(out, settings, resume=config.resume)
    rows, curves = [], {}
    for name in config.posterior:
        trained = train(config, dataset, name, out)
        row = evaluate(config, dataset, name, trained.model)
        rows.append({**row, "train_seconds": trained.seconds})
        curves[name] = trained.history["elbo"]
    pictures.save_curves(
        out / "curves.png", curves, x_label="step", y_label="training ELBO (nats)", y_quantile=0.2
    )
    print_table(config, dataset, rows)
    run_directory.write_json(
        out / "results.json",
        {
            "units": "nats per image; seconds",
            "dataset": dataset.name,
            "nll_particles": config.particles,
            "seed": config.seed,
            "rows": rows,
            "wall_seconds": time.perf_counter() - start,
            "versions": run_directory.versions(),
            "git_commit": run_directory.git_commit(),
        },
    )
    print(f"picture:     {out}/curves.png")
    print(f"figures:     {out}/results.json")
    print(f"TensorBoard: {out} (pip install tensorboard; tensorboard --logdir {out})")
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
