"""VAEs with flows for posteriors: python -m experiments.flow_posteriors.

Decoder, prior and encoder are the same for all; the posteriors differ in what the flow makes of a
normal with independent entries, and all their parameters depend on x. Defaults train on
scikit-learn's digits in minutes on two CPU cores.
"""

import dataclasses
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

from genmix import bijectors as bij
from genmix import command_line, data, evaluation
from genmix.data import Dataset
from genmix.evaluation import pictures
from genmix.families import (
    Bernoulli,
    FactorizedNormal,
    LatentVariableModel,
    StandardNormal,
    transformed,
)
from genmix.nets import MADE, MLP, state
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
    limit: int | None = None
    """Images to validate and to test on, at most, evenly spaced in their sets; all by default."""
    seed: int = 0
    out: Path | None = None
    """Directory of the run; runs/flow_posteriors/TIME if not given."""
    resume: bool = False
    """Go on with the run in --out, bit for bit."""
    debug: bool = False
    """If a number is not finite, name the operation that made it so; it may go with --resume."""

    def __post_init__(self):
        command_line.require(
            self,
            counts=("flows", "columns", "latent", "hidden", "steps", "batch_size", "particles",
                    "warm_up", "limit"),
            positive=("learning_rate",),
            names=("posterior",),
        )  # fmt: skip


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
    decoder.out.bias = nnx.Param(jnp.asarray(data.mean_logits(dataset.train)).reshape(-1))
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


def evaluate(
    config: Config, dataset: Dataset, name: str, model: LatentVariableModel
) -> dict[str, Any]:
    elbo_key, nll_key, unit_key = jax.random.split(jax.random.key(config.seed), 3)
    likelihood = evaluation.log_likelihood(
        nll_key, model, dataset.test, num_particles=config.particles
    )
    bound = evaluation.elbo(elbo_key, model, dataset.test)
    return {
        "posterior": name,
        "elbo": bound.elbo,
        "elbo_standard_error": bound.standard_error,
        "nll": likelihood.nll,
        "nll_standard_error": likelihood.standard_error,
        "active_units": int(np.sum(evaluation.active_units(unit_key, model, dataset.test)[0])),
        "posterior_parameters": state.num_parameters(model.posterior),
        "parameters": state.num_parameters(model),
    }


def print_table(config: Config, dataset: Dataset, rows: list[dict[str, Any]]) -> None:
    command_line.print_table(
        f"{dataset.name}: nats an image, NLL with {config.particles} particles",
        {
            "posterior": "{posterior}",
            "-ELBO": "{negative_elbo:.2f}",
            "± ": "{elbo_standard_error:.2f}",
            "NLL": "{nll:.2f}",
            "±": "{nll_standard_error:.2f}",
            "gap": "{gap:.2f}",
            "size of q": "{posterior_parameters:,}",
            "s": "{train_seconds:.0f}",
        },
        [{**row, "negative_elbo": -row["elbo"], "gap": -row["elbo"] - row["nll"]} for row in rows],
    )


def main(config: Config) -> list[dict[str, Any]]:
    start = time.perf_counter()
    dataset = data.thinned(data.load(config.dataset, config.data_dir), config.limit)
    data.require(dataset, batch_size=config.batch_size)
    out = run_directory.begin("flow_posteriors", config)
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
    run_directory.write_results(
        out,
        start,
        units="nats per image; seconds",
        dataset=dataset.name,
        nll_particles=config.particles,
        seed=config.seed,
        rows=rows,
    )
    command_line.print_paths(out, "curves.png")
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
