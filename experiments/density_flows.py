"""Flows as densities of grey images, in bits per dimension: python -m experiments.density_flows.

Levels get noise, uniform or from a flow that learns it, and, but for NICE, go through the logit
map; the bits are those of the levels themselves. Defaults train on scikit-learn's digits in minutes
on two CPU cores.

Source: Theis et al. (2016), arXiv:1511.01844 (uniform noise); Ho et al. (2019), arXiv:1902.00275
(learned noise).
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
from genmix import data, evaluation, objectives
from genmix.data import Dataset, grey
from genmix.evaluation import pictures
from genmix.families import Dequantized, StandardNormal, transformed
from genmix.nets import MADE, MLP, GlowNetwork, state
from genmix.runs import command_line, run_directory
from genmix.training import Fit, Plan, Player, Validation, fit

Flow = Literal["nice", "realnvp", "spline", "maf", "realnvp-multiscale", "glow"]
ON_IMAGES = ("realnvp-multiscale", "glow")
"""Flows of images; the others have vectors."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """One flow after the other is trained; the best of each on validation images is kept."""

    dataset: Literal["digits", "mnist", "fashion-mnist", "frey-faces"] = "digits"
    data_dir: Path | None = None
    """Folder that holds mnist/, ...; the digits need none."""
    flow: tuple[Flow, ...] = ("nice", "realnvp", "maf", "spline")
    """The multiscale ones have convolutions, which want an accelerator."""
    layers: int | None = None
    """Couplings or autoregressive layers, at each scale; each flow has its own number."""
    hidden: int | None = None
    """Width of their networks; 64 for the digits, 512 for larger images, a quarter of it for
    convolutions."""
    noise: Literal["uniform", "flow"] = "uniform"
    """What fills the gaps between levels; a flow q(u given x) is for flows of vectors."""
    margin: float = 0.05
    """Of the logit map."""
    steps: int = 1500
    batch_size: int = 100
    learning_rate: float = 5e-4
    """At the start; it falls to zero along a cosine."""
    weight_decay: float | None = None
    """Of the networks' kernels; 3 for the few images of the digits, 0.01 for larger sets."""
    patience: int = 5
    """Stop after this many twentieths of the run without a better validation bound."""
    particles: int = 20
    """Draws of the noise in the second bound of the table."""
    limit: int | None = None
    """Images to validate and to test on, at most, evenly spaced in their sets; all by default."""
    seed: int = 0
    out: Path | None = None
    """Directory of the run; runs/density_flows/TIME if not given."""
    resume: bool = False
    """Go on with the run in --out, bit for bit."""
    debug: bool = False
    """If a number is not finite, name the operation that made it so; it may go with --resume."""

    def __post_init__(self):
        command_line.require(
            self,
            counts=("steps", "batch_size", "particles", "patience", "layers", "hidden", "limit"),
            positive=("learning_rate",),
            names=("flow",),
        )
        if self.noise == "flow" and (images := sorted(set(self.flow) & set(ON_IMAGES))):
            raise ValueError(
                f"noise flow is for flows of vectors, and {', '.join(images)} takes images: use "
                "--noise uniform, or another --flow."
            )
        if not 0 < self.margin < 0.5:
            raise ValueError(f"margin must be between 0 and 1/2, got {self.margin}.")
        if not 0 <= (self.weight_decay or 0) < math.inf:
            raise ValueError(f"weight_decay must not be negative, got {self.weight_decay}.")


def load(config: Config) -> Dataset:
    """Grey levels; where a set has no validation images, a tenth of the training images are."""
    dataset = grey.load_grey(config.dataset, config.data_dir)
    if not len(dataset.valid):
        train, valid = np.split(dataset.train, [len(dataset.train) * 9 // 10])
        dataset = dataset._replace(train=train, valid=valid)
    return data.thinned(dataset, config.limit)


def on_vectors(config: Config, name: str, dim: int, hidden: int, rngs: nnx.Rngs) -> Any:
    """Layers of couplings or of masked networks, each followed by one fixed permutation."""
    permutation = bij.Permutation(np.random.default_rng(0).permutation(dim).tolist())
    half = dim // 2
    transformers = {
        "nice": bij.Shift(),
        "spline": bij.RationalQuadratic(num_bins=8, bound=4.0),
    }
    transformer = transformers.get(name, bij.ShiftScale())

    def layer() -> Any:
        size = transformer.num_parameters
        if name == "maf":
            # Masks leave a narrower network too few paths: a direct layer has them.
            made = MADE(dim, (hidden, hidden), size, direct=hidden < dim - 1, rngs=rngs)
            return bij.chain([bij.masked_autoregressive(made, transformer), permutation])
        network = MLP(
            half,
            (hidden, hidden),
            dim - half,
            num_outputs=size,
            activation=jax.nn.relu,
            rngs=rngs,
        )
        # A flow that starts near the identity, as MADE does by itself, has no wild first steps.
        network.out.kernel[...] = 0.1 * network.out.kernel[...]
        return bij.chain([bij.coupling_layer(network, transformer, split=half), permutation])

    count = config.layers or {"maf": 5, "spline": 4}.get(name, 8)
    return bij.chain([bij.repeated([layer() for _ in range(count)]), bij.ActNorm(dim)])


def on_images(
    config: Config, name: str, shape: tuple[int, ...], hidden: int, rngs: nnx.Rngs
) -> Any:
    """Two scales of couplings along the channels: RealNVP's with reversals, Glow's with 1x1s."""

    def step(channels: int) -> Any:
        half, transformer = channels // 2, bij.ShiftScale(bij.bounded_scale)
        network = GlowNetwork(half, hidden, (channels - half, 2), rngs=rngs)
        coupling = bij.coupling_layer(network, transformer, split=half)
        mixing = bij.Reverse()
        if name == "glow":
            mixing = bij.InvertibleConvolution(channels, rngs=rngs)
        return bij.chain([coupling, mixing, bij.ActNorm(channels)])

    count = config.layers or 6
    level = lambda channels: bij.repeated([step(channels) for _ in range(count)])
    return bij.multiscale([level(4 * shape[-1]), level(8 * shape[-1])], shape[-1])


def build(config: Config, dataset: Dataset, name: str) -> Dequantized:
    """A flow on [0, 1]^dim under uniform noise; its normalizations start from training images."""
    shape, rngs = dataset.train.shape[1:], nnx.Rngs(config.seed)
    hidden = config.hidden or (64 if math.prod(shape) < 500 else 512)
    if name in ON_IMAGES:
        flow = on_images(config, name, shape, max(hidden // 4, 1), rngs)
    else:
        flow = on_vectors(config, name, math.prod(shape), hidden, rngs)
        shape = (math.prod(shape),)
    parts = [flow] if name == "nice" else [flow, bij.Sigmoid(margin=config.margin)]
    x = jnp.asarray(dataset.train[:512]).reshape(-1, *shape)
    noise = jax.random.uniform(jax.random.key(config.seed), x.shape)
    bijector = jax.jit(bij.initialize)(bij.chain(parts), (x + noise) / dataset.num_levels)
    return Dequantized(
        transformed(StandardNormal(shape), bijector),
        learned_noise(math.prod(shape), hidden, rngs) if config.noise == "flow" else None,
        num_levels=dataset.num_levels,
    )


def learned_noise(dim: int, hidden: int, rngs: nnx.Rngs) -> Any:
    """q(u | x): two couplings given features of x, after which a sigmoid; about uniform at first.

    The sigmoid of a logistic variable is uniform, and a normal one of scale 1.7 is nearly logistic.
    """
    half = dim // 2

    def layer(split: int) -> Any:
        network = MLP(split + hidden, (hidden,), dim - split, num_outputs=2, rngs=rngs)
        network.out.kernel[...] = 0.1 * network.out.kernel[...]
        coupling = bij.coupling_layer(network, bij.ShiftScale(), split=split, cond_size=hidden)
        return bij.chain([coupling, bij.Permutation((*range(split, dim), *range(split)))])

    couplings = [layer(half), layer(dim - half)]
    wide = bij.Affine(dim)
    wide.log_scale[...] = jnp.full(dim, math.log(1.7))
    return transformed(
        StandardNormal(dim),
        bij.chain([*couplings, wide, bij.Sigmoid()]),
        encoder=MLP(dim, (hidden,), hidden, rngs=rngs),
    )


def events(name: str, images: np.ndarray) -> np.ndarray:
    """Images as the flow has them."""
    return images if name in ON_IMAGES else images.reshape(len(images), -1)


def train(config: Config, dataset: Dataset, name: str, out: Path) -> Fit:
    schedule = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    decay = config.weight_decay
    if decay is None:
        decay = 3.0 if len(dataset.train) < 10_000 else 0.01
    kernels = lambda parameters: {path: path.endswith("kernel") for path in parameters}
    optimizer = optax.chain(
        optax.clip_by_global_norm(100.0),
        optax.adamw(schedule, weight_decay=decay, mask=kernels),
    )
    every = max(config.steps // 20, 1)

    def score(model: Dequantized) -> float:
        key, x = jax.random.key(config.seed), events(name, dataset.valid)
        return -evaluation.log_likelihood(key, model, x, num_particles=1).nll

    plan = Plan(
        num_rounds=config.steps,
        batch_size=config.batch_size,
        rounds_per_call=every,
        validation=Validation(score, every, config.patience),
        directory=out / name,
        resume=config.resume,
        debug=config.debug,
        label=name,
    )
    player = Player(loss=objectives.elbo(), optimizer=optimizer)
    model, x = build(config, dataset, name), events(name, dataset.train)
    return fit(jax.random.key(config.seed), model, [player], x, plan)


def figures(dataset: Dataset, model: str, log_px: np.ndarray) -> dict[str, Any]:
    """NLL in nats an image, with its standard error over images, and bits per dimension."""
    dims, row = math.prod(dataset.test.shape[1:]), evaluation.baselines.row(model, log_px)
    return row | {
        "bits_per_dim": evaluation.bits_per_dim(-row["nll"], dims),
        "bits_per_dim_standard_error": evaluation.bits_per_dim(-row["nll_standard_error"], dims),
    }


def evaluate(config: Config, dataset: Dataset, name: str, model: Dequantized) -> dict[str, Any]:
    x = events(name, dataset.test)
    estimate = lambda k: evaluation.log_likelihood(
        jax.random.key(config.seed), model, x, num_particles=k
    )
    tighter = figures(dataset, name, estimate(config.particles).log_px)
    return {
        **figures(dataset, name, estimate(1).log_px),
        "bits_per_dim_tighter": tighter["bits_per_dim"],
        "parameters": state.num_parameters(model),
    }


def draw(config: Config, dataset: Dataset, model: Dequantized, path: Path) -> None:
    keys = jax.random.split(jax.random.key(config.seed), 100)
    x = jax.jit(lambda model: jax.lax.map(model.sample, keys, batch_size=50))(model)
    images = x.reshape(-1, *dataset.test.shape[1:]) / (dataset.num_levels - 1)
    pictures.save_samples(path, images)


def print_table(config: Config, dataset: Dataset, rows: list[dict[str, Any]]) -> None:
    command_line.print_table(
        f"{dataset.name}, {len(dataset.test)} test images of {dataset.num_levels} levels, "
        f"{config.noise} noise",
        {
            "model": "{model}",
            "bits/dim": "{bits_per_dim:.3f}",
            "±": "{bits_per_dim_standard_error:.3f}",
            f"k = {config.particles}": "{bits_per_dim_tighter:.3f}",
            "NLL, nats": "{nll:.2f}",
            "parameters": "{parameters:,}",
            "training": "{train_seconds:.1f} s",
        },
        rows,
    )


def main(config: Config) -> list[dict[str, Any]]:
    start = time.perf_counter()
    dataset = load(config)
    data.require(dataset, batch_size=config.batch_size)
    out = run_directory.begin("density_flows", config)
    log_px = evaluation.baselines.independent_histogram(
        dataset.train, dataset.test, num_levels=dataset.num_levels
    )
    rows: list[dict[str, Any]] = [figures(dataset, "independent histograms", log_px)]
    curves = {}
    for name in config.flow:
        trained = train(config, dataset, name, out)
        draw(config, dataset, trained.model, out / name / "samples.png")
        row = evaluate(config, dataset, name, trained.model)
        rows.append({**row, "train_seconds": trained.seconds})
        curves[name] = trained.history["validation"]
    pictures.save_curves(
        out / "curves.png", curves, x_label="step", y_label="validation bound (nats)"
    )
    print_table(config, dataset, rows)
    run_directory.write_results(
        out,
        start,
        units="bits per dimension and nats per image, of levels; seconds",
        dataset=dataset.name,
        particles=config.particles,
        seed=config.seed,
        rows=rows,
    )
    command_line.print_paths(out, "*/samples.png", "curves.png")
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
