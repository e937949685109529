"""VAEs with learned priors, and one with an IAF posterior: python -m experiments.flow_priors.

An autoregressive flow before the decoder and an inverse autoregressive flow behind the encoder are
two ways to the same bound, but the prior's flow costs nothing when decoding and sees no x. Defaults
train on scikit-learn's digits in minutes on two CPU cores.
"""

import dataclasses
import datetime
import functools
import math
import time
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
    GaussianMixture,
    LatentVariableModel,
    StandardNormal,
    VampModel,
    log_weight,
    transformed,
)
from genmix.nets import MADE, MLP
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
DRAWS = 100  # of z for each image in the estimate of the ELBO


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
    seed: int = 0
    out: Path | None = None
    """Directory of the run; runs/flow_priors/TIME if not given."""
    resume: bool = False
    """Go on with the run in --out, bit for bit."""
    debug: bool = False
    """If a number is not finite, name the operation that made it so; it may go with --resume."""

    def __post_init__(self):
        counts = ("flows", "components", "latent", "hidden", "steps", "batch_size", "particles")
        for name in (*counts, "warm_up", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        if not self.model:
            raise ValueError("model needs at least one name, got none.")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}.")
        if self.resume and self.out is None:
            raise ValueError("resume needs --out DIR, the run to go on with.")


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
        network = MLP(half, (hidden,), (dim - half, 2), activation=jax.nn.relu, rngs=rngs)
        network.out.kernel[...] = 0.1 * network.out.kernel[...]  # starts near the identity
        return bij.chain([bij.coupling_layer(network, transformer, split=half), bij.Reverse()])

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
    means = np.clip(np.mean(dataset.train, axis=0), 1e-3, 1 - 1e-3)
    logits = np.log(means / (1 - means)).reshape(-1)
    decoder.out.bias = nnx.Param(jnp.asarray(logits, jnp.float32))
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
        return float(jnp.mean(elbos(jax.random.key(config.seed), model, dataset.valid, 1)))

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


@functools.partial(jax.jit, static_argnames="draws")
def elbos(key: jax.Array, model: Any, x: jax.Array, draws: int) -> jax.Array:
    """ELBO of each image, in nats, a mean of draws."""

    def one(pair):
        keys = jax.random.split(pair[0], draws)
        return jnp.mean(jax.vmap(lambda key: log_weight(model, key, pair[1]))(keys))

    return jax.lax.map(one, (jax.random.split(key, len(x)), x), batch_size=100)


def evaluate(config: Config, dataset: Dataset, name: str, model: Any) -> dict[str, Any]:
    elbo_key, nll_key, unit_key = jax.random.split(jax.random.key(config.seed), 3)
    likelihood = evaluation.log_likelihood(
        nll_key, model, dataset.test, num_particles=config.particles
    )
    plain = model.model if isinstance(model, VampModel) else model
    count = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
    x = jnp.asarray(dataset.test)
    return {
        "model": name,
        "elbo": float(jnp.mean(elbos(elbo_key, model, x, DRAWS))),
        "nll": likelihood.nll,
        "nll_standard_error": likelihood.standard_error,
        "active_units": int(np.sum(evaluation.active_units(unit_key, plain, dataset.test)[0])),
        "parameters": count,
    }


def draw(config: Config, model: Any, path: Path) -> None:
    """Means of x given z drawn from the prior."""
    plain = model.model if isinstance(model, VampModel) else model
    keys = jax.random.split(jax.random.key(config.seed), 100)
    mean = lambda key: plain.decode(plain.prior.sample(key))
    pictures.save_samples(path, jax.jit(jax.vmap(mean))(keys))


def print_table(config: Config, dataset: Dataset, rows: list[dict[str, Any]]) -> None:
    table = Table(title=f"{dataset.name}: nats an image, NLL with {config.particles} particles")
    for name in ("prior", "-ELBO", "NLL", "±", "active", "parameters", "training"):
        table.add_column(name, justify="left" if name == "prior" else "right")
    for row in rows:
        table.add_row(
            row["model"].replace("iaf-posterior", "normal, IAF posterior"),
            f"{-row['elbo']:.2f}",
            f"{row['nll']:.2f}",
            f"{row['nll_standard_error']:.2f}",
            str(row["active_units"]),
            f"{row['parameters']:,}",
            f"{row['train_seconds']:.1f} s",
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
    if config.patience is not None and not len(dataset.valid):
        raise ValueError(
            f"{dataset.name} has no validation images, so it cannot stop early: leave out "
            "--patience."
        )
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    out = config.out or Path("runs") / "flow_priors" / stamp
    settings = dataclasses.asdict(config)
    for local in ("out", "resume", "debug", "data_dir"):
        settings.pop(local)
    run_directory.prepare(out, settings, resume=config.resume)
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
    print(f"pictures:    {out}/*/samples.png, {out}/curves.png")
    print(f"figures:     {out}/results.json")
    print(f"TensorBoard: {out} (pip install tensorboard; tensorboard --logdir {out})")
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
