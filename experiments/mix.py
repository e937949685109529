"""Any prior, posterior, decoder and objective in one model: python -m experiments.mix.

    python -m experiments.mix --prior maf --posterior iaf --decoder pixelcnn --objective iwae --k 5

trains on scikit-learn's digits. In Python a mix is one expression, of parts that any others with
the same methods could replace:

    rngs = nnx.Rngs(0)
    made = lambda context: MADE(8, (32,), 2, cond_size=context, activation=jnp.tanh, rngs=rngs)
    pixelcnn = GatedPixelCNN((8, 8), 1, 16, 2, 1, first_kernel_size=3, cond_size=8, rngs=rngs)
    model = LatentVariableModel(
        prior=transformed(StandardNormal(8), masked_autoregressive(made(0), ShiftScale())),
        likelihood=Autoregressive(pixelcnn, BinaryLevels(), shape=(8, 8, 1)),
        posterior=transformed(
            FactorizedNormal(nnx.Linear(32, 16, rngs=rngs)),
            inverse_autoregressive(made(32), Gate()),
            encoder=MLP((8, 8, 1), (64,), 32, rngs=rngs),
        ),
    )
    player = Player(loss=objectives.iwae(5), optimizer=optax.adam(1e-3))
    plan = Plan(num_rounds=1000, batch_size=50, transform=data.binarize)
    model = fit(jax.random.key(0), model, [player], data.load("digits").train, plan).model
"""

import dataclasses
import datetime
import functools
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from flax import nnx
from rich.console import Console
from rich.table import Table

from genmix import bounds, command_line, data, evaluation
from genmix.bijectors import (
    DeepSigmoid,
    Gate,
    Householder,
    HouseholderSylvester,
    OrthogonalSylvester,
    Planar,
    Radial,
    Reverse,
    ShiftScale,
    TriangularSylvester,
    amortized,
    chain,
    coupling_layer,
    inverse_autoregressive,
    masked_autoregressive,
    num_parameters,
    repeated,
)
from genmix.capabilities import Mean
from genmix.data import Dataset, grey
from genmix.evaluation import pictures
from genmix.families import (
    Autoregressive,
    Bernoulli,
    BinaryLevels,
    DiscretizedLogistic,
    FactorizedNormal,
    FullNormal,
    GaussianMixture,
    LatentVariableModel,
    LogisticMixtureLevels,
    StandardNormal,
    VampModel,
    transformed,
)
from genmix.nets import MADE, MLP, ConvDecoder, ConvEncoder, GatedPixelCNN, Rescale, StepwiseMADE
from genmix.training import Fit, Plan, Player, Term, baselines, fit, objectives, run_directory

Prior = Literal["normal", "gmm", "vamp", "maf", "realnvp", "hierarchical"]
Posterior = Literal[
    "diagonal", "full", "planar", "radial", "householder", "sylvester", "iaf", "naf"
]
Decoder = Literal["bernoulli-mlp", "bernoulli-conv", "discretized-logistic", "made", "pixelcnn"]
Objective = Literal["elbo", "iwae", "renyi", "vr-max"]
Estimator = Literal["reparameterized", "stl", "dreg", "weighted", "resampled", "score-function"]

ESTIMATORS = {
    "reparameterized": bounds.reparameterized.estimate,
    "stl": bounds.sticking_the_landing.estimate,
    "dreg": bounds.doubly_reparameterized.estimate,
    "weighted": bounds.weighted.estimate,
    "resampled": bounds.resampled.estimate,
    "score-function": bounds.score_function.estimate,
}
CHANNELS = (32, 64)  # of the convolutional networks, from the image on
LOCAL = ("out", "resume", "debug", "data_dir")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What cannot be combined is refused with the reason, before anything is written."""

    prior: Prior = "normal"
    """Of z; hierarchical is a model with a second layer of half the width."""
    posterior: Posterior = "diagonal"
    """Of z given x; flows start from a diagonal normal and are given the encoder's features."""
    decoder: Decoder = "bernoulli-mlp"
    """Of x given z; discretized-logistic takes grey levels. In made and pixelcnn pixels see those
    before them."""
    objective: Objective = "elbo"
    k: int = 1
    """Particles in training."""
    estimator: Estimator = "reparameterized"
    """Gradient estimator; score-function uses leave-one-out baselines (VIMCO for iwae)."""
    alpha: float = 0.5
    """Order of the Rényi objective."""
    sylvester: Literal["orthogonal", "householder", "triangular"] | None = None
    """Kind of Sylvester flow; orthogonal if not given."""
    flow_layers: int = 4
    """Layers of a flow, in prior and posterior."""
    components: int = 50
    """Components of a gmm or vamp prior."""
    dataset: Annotated[str, tyro.conf.arg(metavar="{" + ",".join(data.NAMES) + ",tfds:NAME}")] = (
        "digits"
    )
    """tfds:NAME is a set of TensorFlow Datasets, prepared beforehand (docs/data.md)."""
    data_dir: Path | None = None
    """Folder that holds mnist/, binarized_mnist/, ...; the digits need none."""
    latent: int = 10
    """Dimensions of z."""
    hidden: int | None = None
    """Width of the fully connected layers; 100 for the digits, 300 for larger images."""
    width: int = 32
    """Channels of the PixelCNN."""
    steps: int = 5000
    batch_size: int = 50
    learning_rate: float = 2e-3
    """At the start; it falls to zero along a cosine."""
    particles: int = 1000
    """Particles of the NLL estimate."""
    seed: int = 0
    out: Path | None = None
    """Directory of the run; runs/mix/TIME if not given."""
    resume: bool = False
    """Go on with the run in --out, bit for bit."""
    debug: bool = False
    """If a number is not finite, name the operation that made it so; it may go with --resume."""

    def __post_init__(self):
        for name in ("k", "flow_layers", "components", "latent", "hidden", "width", "steps",
                     "batch_size", "particles"):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}.")
        if self.resume and self.out is None:
            raise ValueError("resume needs --out DIR, the run to go on with.")
        if self.objective != "elbo" and self.k == 1:
            raise ValueError(
                f"{self.objective} of one particle is the ELBO: use --k 2 or more, or --objective "
                "elbo."
            )
        if self.objective != "elbo" and self.estimator == "stl":
            remedy = "reparameterized" if self.objective == "vr-max" else "dreg"
            raise ValueError(
                f"stl gradients of {self.objective} are biased, since the score term that they "
                f"drop vanishes for the ELBO alone: use --estimator {remedy}."
            )
        if self.sylvester is not None and self.posterior != "sylvester":
            raise ValueError(
                f"--sylvester {self.sylvester} is a kind of --posterior sylvester, got "
                f"{self.posterior}."
            )
        if self.prior == "realnvp" and self.latent < 2:
            raise ValueError("realnvp couples two parts of z: use --latent 2 or more.")

    @property
    def name(self) -> str:
        posterior = self.posterior + (f" ({self.sylvester})" if self.sylvester else "")
        return f"{self.prior}, {posterior}, {self.decoder}"


def load(config: Config) -> Dataset:
    """Grey levels for the discretized logistic, what the set has for the others."""
    if config.decoder == "discretized-logistic":
        if config.dataset in data.NAMES and config.dataset not in grey.NAMES:
            raise ValueError(
                f"{config.dataset} has bits and no grey levels, which discretized-logistic is for: "
                f"use another --decoder, or one of {', '.join(grey.NAMES)}."
            )
        return grey.load_grey(config.dataset, config.data_dir)
    dataset = data.load(config.dataset, config.data_dir)
    if dataset.num_levels != 2 and config.decoder.startswith("bernoulli"):
        raise ValueError(
            f"{dataset.name} has {dataset.num_levels} grey levels, and a {config.decoder} decoder "
            "gives bits: use --decoder discretized-logistic, made or pixelcnn."
        )
    return dataset


def build(config: Config, dataset: Dataset) -> LatentVariableModel | VampModel:
    hidden = config.hidden or (100 if math.prod(dataset.train.shape[1:]) < 500 else 300)
    rngs = nnx.Rngs(config.seed)
    if config.prior == "vamp":  # a mixture of this very posterior, at inputs that start as images
        return VampModel(
            likelihood=decoder(config, dataset, hidden, rngs),
            posterior=posterior(config, dataset, hidden, rngs),
            pseudo_inputs=jnp.asarray(dataset.train[: config.components]),
            bounds=(0.0, dataset.num_levels - 1.0),
        )
    return LatentVariableModel(
        prior=prior(config, hidden, rngs),
        likelihood=decoder(config, dataset, hidden, rngs),
        posterior=posterior(config, dataset, hidden, rngs),
    )


def prior(config: Config, hidden: int, rngs: nnx.Rngs) -> Any:
    """p(z), all but vamp."""
    dim = config.latent
    if config.prior == "normal":
        return StandardNormal(dim)
    if config.prior == "gmm":
        return GaussianMixture(config.components, dim, rngs=rngs)
    if config.prior == "hierarchical":
        width, inner = max(hidden // 2, 1), max(dim // 2, 1)
        return LatentVariableModel(
            prior=StandardNormal(inner),
            likelihood=FactorizedNormal(MLP(inner, (width, width), 2 * dim, rngs=rngs)),
            posterior=FactorizedNormal(MLP(dim, (width, width), 2 * inner, rngs=rngs)),
        )

    def layer() -> Any:
        if config.prior == "maf":
            made = MADE(dim, (max(hidden, dim),), 2, activation=jnp.tanh, rngs=rngs)
            return chain([masked_autoregressive(made, ShiftScale()), Reverse()])
        network = MLP(dim // 2, (hidden,), (dim - dim // 2, 2), rngs=rngs)
        return chain([coupling_layer(network, ShiftScale(), split=dim // 2), Reverse()])

    return transformed(StandardNormal(dim), repeated([layer() for _ in range(config.flow_layers)]))


def posterior(config: Config, dataset: Dataset, hidden: int, rngs: nnx.Rngs) -> Any:
    """q(z | x); a flow's base and layers are given the same features of x."""
    network = functools.partial(encoder, config, dataset, hidden, rngs)
    if config.posterior == "diagonal":
        return FactorizedNormal(network(2 * config.latent))
    if config.posterior == "full":
        return FullNormal(network(FullNormal.num_parameters(config.latent)))
    return transformed(
        FactorizedNormal(nnx.Linear(hidden, 2 * config.latent, rngs=rngs)),
        conditional_flow(config, hidden, rngs),
        encoder=network(hidden),
    )


def encoder(config: Config, dataset: Dataset, hidden: int, rngs: nnx.Rngs, out_size: int) -> Any:
    """A network from an image to `out_size` numbers."""
    shape = dataset.train.shape[1:]
    if config.decoder == "bernoulli-conv":
        return ConvEncoder(shape, CHANNELS, out_size, rngs=rngs)
    network = MLP(shape, (hidden, hidden), out_size, rngs=rngs)
    middle = (dataset.num_levels - 1) / 2
    return Rescale(network, loc=middle, scale=middle)


def conditional_flow(config: Config, hidden: int, rngs: nnx.Rngs) -> Any:
    """Layers with parameters (or, in IAF and NAF, networks) that are given the features of x."""
    dim = config.latent
    kind = f"{config.sylvester or 'orthogonal'} sylvester"
    if config.posterior in ("iaf", "naf"):
        transformer = Gate() if config.posterior == "iaf" else DeepSigmoid()
        size = transformer.num_parameters
        made = lambda: MADE(
            dim, (max(hidden, dim),), size, cond_size=hidden, activation=jnp.tanh, rngs=rngs
        )
        layer = lambda: chain([inverse_autoregressive(made(), transformer), Reverse()])
        return repeated([layer() for _ in range(config.flow_layers)])
    layers = {
        "planar": lambda: Planar(dim, rngs=rngs),
        "radial": lambda: Radial(dim, rngs=rngs),
        "householder": lambda: Householder(dim, 1, rngs=rngs),
        "orthogonal sylvester": lambda: OrthogonalSylvester(dim, max(dim // 2, 1), rngs=rngs),
        "householder sylvester": lambda: HouseholderSylvester(dim, min(dim, 4), rngs=rngs),
        "triangular sylvester": lambda: chain([TriangularSylvester(dim, rngs=rngs), Reverse()]),
    }
    layer = layers[kind if config.posterior == "sylvester" else config.posterior]
    flow = repeated([layer() for _ in range(config.flow_layers)])
    small = nnx.initializers.variance_scaling(0.01, "fan_in", "normal")
    network = nnx.Linear(hidden, num_parameters(flow), kernel_init=small, rngs=rngs)
    return amortized(flow, network)


def decoder(config: Config, dataset: Dataset, hidden: int, rngs: nnx.Rngs) -> Any:
    """p(x | z)."""
    height, width, channels = dataset.train.shape[1:]
    network = functools.partial(MLP, config.latent, (hidden, hidden), rngs=rngs)
    if config.decoder == "bernoulli-mlp":
        return Bernoulli(network((height, width, channels)))
    if config.decoder == "bernoulli-conv":
        shape = (height, width, channels)
        return Bernoulli(ConvDecoder(config.latent, CHANNELS[::-1], shape, rngs=rngs))
    if config.decoder == "discretized-logistic":
        raw = network((height, width, 2 * channels))
        return DiscretizedLogistic(raw, num_levels=dataset.num_levels)
    levels: Any = BinaryLevels()
    if dataset.num_levels > 2:
        several = channels if config.decoder == "pixelcnn" else 1
        levels = LogisticMixtureLevels(num_channels=several, num_levels=dataset.num_levels)
    if config.decoder == "made":
        size = (height * width * channels, (hidden,), levels.num_parameters)
        made = MADE(*size, cond_size=hidden, activation=jnp.tanh, direct=True, rngs=rngs)
        pixels, given = StepwiseMADE(made), network(hidden)
    else:
        pixels = GatedPixelCNN(
            (height, width), levels.num_features, config.width, 2, levels.num_parameters,
            first_kernel_size=3, cond_size=config.width, rngs=rngs,
        )  # fmt: skip
        given = network((height, width, config.width))
    return Autoregressive(pixels, levels, shape=(height, width, channels), encoder=given)


def objective(config: Config) -> Term:
    baseline = None
    if config.estimator == "score-function":
        baseline = baselines.running_mean() if config.k == 1 else baselines.leave_one_out()
    options = {"estimator": ESTIMATORS[config.estimator], "baseline": baseline}
    if config.objective == "renyi":
        return objectives.renyi(config.alpha, config.k, **options)
    terms = {"elbo": objectives.elbo, "iwae": objectives.iwae, "vr-max": objectives.vr_max}
    return terms[config.objective](config.k, **options)


def check(config: Config, dataset: Dataset) -> None:
    """Refuse what cannot run: the parts, and a step's loss, are tried on shapes alone."""
    if config.batch_size > len(dataset.train):
        raise ValueError(
            f"batch_size must be at most {len(dataset.train)}, the training images of "
            f"{dataset.name}; got {config.batch_size}."
        )
    term = objective(config)

    def loss(key: jax.Array, batch: jax.Array) -> jax.Array:
        model = build(config, dataset)
        return term(model, key, batch, term.init(model))[0]

    try:
        jax.eval_shape(loss, jax.random.key(0), dataset.train[:1])
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"--prior {config.prior}, --posterior {config.posterior}, --decoder {config.decoder} "
            f"and --estimator {config.estimator} do not go together on {dataset.name}: {error}"
        ) from error


def train(config: Config, dataset: Dataset, directory: Path) -> Fit:
    learning_rate = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    player = Player(loss=objective(config), optimizer=optax.adam(learning_rate))
    plan = Plan(
        num_rounds=config.steps,
        batch_size=config.batch_size,
        transform=data.binarize if dataset.binarization == "dynamic" else None,
        rounds_per_call=max(config.steps // 50, 1),
        directory=directory,
        resume=config.resume,
        debug=config.debug,
        label=config.name,
    )
    return fit(jax.random.key(config.seed), build(config, dataset), [player], dataset.train, plan)


def evaluate(config: Config, dataset: Dataset, model: LatentVariableModel) -> dict[str, Any]:
    """Figures on the test images, in nats an image where they have a unit."""
    nll_key, elbo_key, unit_key = jax.random.split(jax.random.key(config.seed), 3)
    x, dims = dataset.test, math.prod(dataset.test.shape[1:])
    rows = max(640_000 // dims, 1)  # so that the PixelCNN's features fit into memory
    likelihood = evaluation.log_likelihood(
        nll_key, model, x, num_particles=config.particles, rows_per_chunk=rows
    )
    bound = evaluation.elbo(elbo_key, model, x, num_samples=20, rows_per_chunk=rows)
    units = evaluation.active_units(unit_key, model, x)
    return {
        "nll": likelihood.nll,
        "nll_standard_error": likelihood.standard_error,
        "bits_per_dim": evaluation.bits_per_dim(-likelihood.nll, dims),
        "elbo": bound.elbo,
        "rate": bound.rate,
        "active_units": [int(np.sum(layer)) for layer in units],
        "latent_units": [len(layer) for layer in units],
    }


def baseline(dataset: Dataset) -> dict[str, Any]:
    """The row of the model of independent pixels."""
    if dataset.num_levels == 2:
        name = "independent Bernoulli"
        log_px = evaluation.baselines.independent_bernoulli(dataset.train, dataset.test)
    else:
        name, levels = "independent histograms", dataset.num_levels
        log_px = evaluation.baselines.independent_histogram(
            dataset.train, dataset.test, num_levels=levels
        )
    dims = math.prod(dataset.test.shape[1:])
    return {
        "model": name,
        "nll": float(-np.mean(log_px)),
        "nll_standard_error": float(np.std(log_px, ddof=1) / math.sqrt(len(log_px))),
        "bits_per_dim": evaluation.bits_per_dim(float(np.mean(log_px)), dims),
    }


def draw(config: Config, dataset: Dataset, model: LatentVariableModel, out: Path) -> None:
    """Images given sampled z, and given z of test images: means where there are any, or draws."""
    top = dataset.num_levels - 1
    sample_key, encode_key = jax.random.split(jax.random.key(config.seed))

    def picture(key: jax.Array, draw_z: Callable[[jax.Array], jax.Array]) -> jax.Array:
        z_key, x_key = jax.random.split(key)
        z = draw_z(z_key)
        has_mean = isinstance(model.likelihood, Mean)
        return (model.decode(z) if has_mean else model.likelihood.sample(x_key, z)) / top

    sample = lambda key: picture(key, model.prior.sample)
    reconstruct = lambda key, x: picture(key, lambda z_key: model.encode(z_key, x))
    x = jnp.asarray(dataset.test[:50])
    samples = jax.jit(jax.vmap(sample))(jax.random.split(sample_key, 100))
    reconstructions = jax.jit(jax.vmap(reconstruct))(jax.random.split(encode_key, len(x)), x)
    pictures.save_samples(out / "samples.png", samples)
    pictures.save_reconstructions(out / "reconstructions.png", x / top, reconstructions)


def print_table(config: Config, dataset: Dataset, rows: list[dict[str, Any]]) -> None:
    grey_levels = dataset.num_levels > 2
    title = f"{dataset.name}: nats per image, NLL with {config.particles} particles"
    table = Table(title=title)
    for name in ("model", "NLL", "±", *["bits/dim"] * grey_levels, "ELBO", "KL", "active units",
                 "training"):  # fmt: skip
        table.add_column(name, justify="left" if name == "model" else "right")
    for row in rows:
        units = zip(row.get("active_units", []), row.get("latent_units", []), strict=True)
        nats = lambda name, row=row: f"{row[name]:.2f}" if name in row else ""
        table.add_row(
            row["model"],
            nats("nll"),
            nats("nll_standard_error"),
            *[f"{row['bits_per_dim']:.3f}"] * grey_levels,
            nats("elbo"),
            nats("rate"),
            " + ".join(f"{active} of {dims}" for active, dims in units),
            f"{row['train_seconds']:.1f} s" if "train_seconds" in row else "",
        )
    Console().print(table)


def main(config: Config) -> list[dict[str, Any]]:
    start = time.perf_counter()
    dataset = load(config)
    check(config, dataset)
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    out = config.out or Path("runs") / "mix" / stamp
    settings = dataclasses.asdict(config)
    for local in LOCAL:
        settings.pop(local)
    run_directory.prepare(out, settings, resume=config.resume)
    trained = train(config, dataset, out)
    model = trained.model.model if config.prior == "vamp" else trained.model
    name = f"{config.name}, {config.objective}" + (f" k={config.k}" if config.k > 1 else "")
    seconds = {"train_seconds": trained.seconds}
    rows = [baseline(dataset), {"model": name} | evaluate(config, dataset, model) | seconds]
    draw(config, dataset, model, out)
    bound = config.objective.replace("-", "_")
    pictures.save_curves(
        out / "curves.png",
        {name: trained.history[bound]},
        x_label="step",
        y_label=f"training {config.objective} (nats)",
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
    print(f"pictures:    {out}: samples.png, reconstructions.png, curves.png")
    print(f"figures:     {out}/results.json")
    print(f"TensorBoard: {out} (pip install tensorboard; tensorboard --logdir {out})")
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
