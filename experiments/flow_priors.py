"""VAEs with learned priors, and one with an IAF posterior: python -m experiments.flow_priors.

An autoregressive flow before the decoder and an inverse autoregressive flow behind the encoder are
two ways to the same bound, but the prior's flow costs nothing when decoding and sees no x. Defaults
train on scikit-learn's digits in minutes on two CPU cores.
"""

import dataclasses
import math
import time
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
    GaussianMixture,
    LatentVariableModel,
    StandardNormal,
    VampModel,
    transformed,
)
from genmix.nets import MADE, MLP, state
from genmix.training import (
    Fit,
    Plan,
    Player,
    Rate,
    Validation,
    fit,
    objectives,
    run_directory,
)

Model = Literal["normal", "mixture", "vamp", "realnvp", "maf", "iaf-posterior"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """One VAE is trained for each prior, from the same seed; iaf-posterior has the normal one."""

    dataset: Literal["digits", "mnist", "binarized-mnist", "caltech-silhouettes"] = "digits"
    data_dir: Path | None = None
    """Folder that holds mnist/, binarized_mnist/, ...; the digits need none."""
    model: tuple[Model, ...] = ("normal", "mixture", "vamp", "realnvp", "maf", "iaf-posterior")
    flows: int = 4
    """Layers of the flows."""
    components: int | None = None
    """Of mixture and VampPrior; 50 for the digits, 500 for larger images."""
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
    """Directory of the run; runs/flow_priors/TIME if not given."""
    resume: bool = False
    """Go on with the run in --out, bit for bit."""
    debug: bool = False
    """If a number is not finite, name the operation that made it so; it may go with --resume."""

    def __post_init__(self):
        command_line.require(
            self,
            counts=("flows", "components", "latent", "hidden", "steps", "batch_size", "particles",
                    "warm_up", "patience", "limit"),
            positive=("learning_rate",),
            names=("model",),
        )  # fmt: skip


def sizes(config: Config, dataset: Dataset) -> tuple[int, int, int]:
    """Dimensions of z, width of the hidden layers, components of a mixture."""
    is_small = math.prod(dataset.train.shape[1:]) < 500
    latent, hidden, components = (20, 100, 50) if is_small else (40, 300, 500)
    return config.latent or latent, config.hidden or hidden, config.components or components


class Features(nnx.Module):
    """What the posterior and its flow are given: two tanh layers on x."""

    def __init__(self, shape: tuple[int, ...], hidden: int, *, rngs: nnx.Rngs):
        self.network = MLP(shape, (hidden,), hidden, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.tanh(self.network(x))


def flow_prior(config: Config, name: str, dim: int, hidden: int, rngs: nnx.Rngs) -> Any:
    def layer() -> Any:
        transformer = bij.ShiftScale()
        if name == "maf":
            made = MADE(dim, (hidden,), 2, rngs=rngs)
            return bij.chain([bij.masked_autoregressive(made, transformer), bij.Reverse()])
        half = dim // 2
        relu = jax.nn.relu
        network = MLP(half, (hidden,), dim - half, num_outputs=2, activation=relu, rngs=rngs)
        network.out.kernel[...] = 0.1 * network.out.kernel[...]  # starts near the identity
        exchange = bij.Permutation((*range(half, dim), *range(half)))
        return bij.chain([bij.coupling_layer(network, transformer, split=half), exchange])

    return transformed(StandardNormal(dim), bij.repeated([layer() for _ in range(config.flows)]))


def iaf(config: Config, dim: int, hidden: int, rngs: nnx.Rngs) -> Any:
    def layer() -> Any:
        made = MADE(dim, (hidden,), 2, cond_size=hidden, rngs=rngs)
        return bij.chain([bij.inverse_autoregressive(made, bij.Gate(bias=1.0)), bij.Reverse()])

    return bij.repeated([layer() for _ in range(config.flows)])


def build(config: Config, dataset: Dataset, name: str) -> Any:
    shape, rngs = dataset.train.shape[1:], nnx.Rngs(config.seed)
    latent, hidden, components = sizes(config, dataset)
    decoder = MLP(latent, (hidden, hidden), shape, rngs=rngs)
    decoder.out.bias = nnx.Param(jnp.asarray(data.mean_logits(dataset.train)).reshape(-1))
    base = FactorizedNormal(nnx.Linear(hidden, 2 * latent, rngs=rngs))
    encoder = Features(shape, hidden, rngs=rngs)
    parts: dict[str, Any] = {"likelihood": Bernoulli(decoder)}
    nothing = bij.Permutation(range(latent))
    bijector = iaf(config, latent, hidden, rngs) if name == "iaf-posterior" else nothing
    parts["posterior"] = transformed(base, bijector, encoder=encoder)
    if name == "vamp":
        first = jnp.asarray(dataset.train[:components])
        noise = 0.05 * jax.random.normal(jax.random.key(config.seed), first.shape)
        return VampModel(**parts, pseudo_inputs=jnp.clip(first + noise, 0.01, 0.99))
    if name == "mixture":
        prior = GaussianMixture(components, latent, rngs=rngs)
    elif name in ("realnvp", "maf"):
        prior = flow_prior(config, name, latent, hidden, rngs)
    else:
        prior = StandardNormal(latent)
    return LatentVariableModel(prior=prior, **parts)


def train(config: Config, dataset: Dataset, name: str, out: Path) -> Fit:
    rate = Rate(beta=optax.linear_schedule(0.0, 1.0, config.warm_up or max(config.steps // 5, 1)))
    learning_rate = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    optimizer = optax.chain(optax.clip_by_global_norm(100.0), optax.adam(learning_rate))
    every = max(config.steps // 20, 1)

    def score(model: Any) -> float:
        key = jax.random.key(config.seed)
        return evaluation.elbo(key, model, dataset.valid, num_samples=1).elbo

    has_valid = len(dataset.valid) > 0
    plan = Plan(
        num_rounds=config.steps,
        batch_size=config.batch_size,
        transform=data.binarize if dataset.binarization == "dynamic" else None,
        rounds_per_call=every,
        validation=Validation(score, every, config.patience) if has_valid else None,
        directory=out / name,
        resume=config.resume,
        debug=config.debug,
        label=name,
    )
    player = Player(loss=objectives.elbo(rate=rate), optimizer=optimizer)
    model = build(config, dataset, name)
    return fit(jax.random.key(config.seed), model, [player], dataset.train, plan)


def evaluate(config: Config, dataset: Dataset, name: str, model: Any) -> dict[str, Any]:
    elbo_key, nll_key, unit_key = jax.random.split(jax.random.key(config.seed), 3)
    likelihood = evaluation.log_likelihood(
        nll_key, model, dataset.test, num_particles=config.particles
    )
    plain = model.model if isinstance(model, VampModel) else model
    bound = evaluation.elbo(elbo_key, model, dataset.test)
    return {
        "model": name,
        "elbo": bound.elbo,
        "elbo_standard_error": bound.standard_error,
        "nll": likelihood.nll,
        "nll_standard_error": likelihood.standard_error,
        "active_units": int(np.sum(evaluation.active_units(unit_key, plain, dataset.test)[0])),
        "parameters": state.num_parameters(model),
    }


def draw(config: Config, model: Any, path: Path) -> None:
    """Means of x given z drawn from the prior."""
    plain = model.model if isinstance(model, VampModel) else model
    keys = jax.random.split(jax.random.key(config.seed), 100)
    mean = lambda key: plain.decode(plain.prior.sample(key))
    pictures.save_samples(path, jax.jit(jax.vmap(mean))(keys))


def print_table(config: Config, dataset: Dataset, rows: list[dict[str, Any]]) -> None:
    title = lambda row: row["model"].replace("iaf-posterior", "normal, IAF posterior")
    command_line.print_table(
        f"{dataset.name}: nats an image, NLL with {config.particles} particles",
        {
            "prior": "{title}",
            "-ELBO": "{negative_elbo:.2f}",
            "± ": "{elbo_standard_error:.2f}",
            "NLL": "{nll:.2f}",
            "±": "{nll_standard_error:.2f}",
            "active": "{active_units}",
            "size": "{parameters:,}",
            "s": "{train_seconds:.0f}",
        },
        [{**row, "title": title(row), "negative_elbo": -row["elbo"]} for row in rows],
    )


def main(config: Config) -> list[dict[str, Any]]:
    start = time.perf_counter()
    dataset = data.thinned(data.load(config.dataset, config.data_dir), config.limit)
    data.require(dataset, batch_size=config.batch_size, patience=config.patience)
    out = run_directory.begin("flow_priors", config)
    rows, curves = [], {}
    for name in config.model:
        trained = train(config, dataset, name, out)
        draw(config, trained.model, out / name / "samples.png")
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
    command_line.print_paths(out, "*/samples.png", "curves.png")
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
