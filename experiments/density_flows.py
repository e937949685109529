"""Flows as densities of grey images, in bits per dimension: python -m experiments.density_flows.

Levels get noise, uniform or from a flow that learns it, and, but for NICE, go through the logit
map; the bits are those of the levels themselves. Defaults train on scikit-learn's digits in minutes
on two CPU cores.

Source: Theis et al. (2016), arXiv:1511.01844 (uniform noise); Ho et al. (2019), arXiv:1902.00275
(learned noise).
"""

import dataclasses
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments import study
from genmix import bijectors as bij
from genmix import data, evaluation, objectives
from genmix.data import Dataset
from genmix.evaluation import pictures
from genmix.families import Dequantized, StandardNormal, transformed
from genmix.nets import MADE, MLP, GlowNetwork, state
from genmix.runs import command_line
from genmix.training import Player, Validation

Flow = Literal[
    "nice", "realnvp", "spline", "maf", "realnvp-multiscale", "spline-multiscale", "glow"
]
ON_IMAGES = ("realnvp-multiscale", "spline-multiscale", "glow")
"""Flows of images; the others have vectors."""
Margin = Annotated[float, study.Rule(lambda value: 0 < value < 0.5, "be between 0 and 1/2")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.OnImages):
    """One flow after the other is trained; the best of each on validation images is kept."""

    dataset: Literal["digits", "mnist", "fashion-mnist", "frey-faces"] = "digits"
    flow: study.Each[Flow] = ("nice", "realnvp", "maf", "spline")
    """The multiscale ones have convolutions, which want an accelerator."""
    layers: study.Count | None = None
    """Couplings or autoregressive layers, at each scale; each flow has its own number."""
    hidden: study.Count | None = None
    """Width of their networks; 64 for the digits, 512 for larger images, a quarter of it for
    convolutions."""
    noise: Literal["uniform", "flow"] = "uniform"
    """What fills the gaps between levels; a flow q(u given x) is for flows of vectors."""
    margin: Margin = 0.05
    """Of the logit map."""
    steps: study.Count = 1500
    learning_rate: study.Positive = 5e-4
    """At the start; it falls to zero along a cosine. Flows of images bear ten times as much, which
    they reach after a twentieth of the steps."""
    weight_decay: study.NotNegative | None = None
    """Of the networks' kernels; 3 for the few images of the digits, 0.01 for larger sets."""
    patience: study.Count = 5
    """Stop after this many twentieths of the run without a better validation bound."""
    particles: study.Count = 20
    """Draws of the noise in the second bound of the table."""

    def __post_init__(self):
        super().__post_init__()
        if self.noise == "flow" and (images := sorted(set(self.flow) & set(ON_IMAGES))):
            raise ValueError(
                f"noise flow is for flows of vectors, and {', '.join(images)} takes images: use "
                "--noise uniform, or another --flow."
            )


def load(config: Config) -> Dataset:
    """Grey levels; where a set has no validation images, a tenth of the training images are."""
    dataset = data.load(config.dataset, config.data_dir, pixels="levels")
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
    """Two scales of couplings along the channels: RealNVP's with reversals, the others with 1x1s.

    Splines after Durkan et al. (2019), arXiv:1906.04032, section 5.2.
    """
    is_spline = name == "spline-multiscale"
    scaling, spline = bij.ShiftScale(bij.bounded_scale), bij.RationalQuadratic(bound=4.0)
    transformer = spline if is_spline else scaling

    def step(channels: int) -> Any:
        half = channels // 2
        out_shape = (channels - half, transformer.num_parameters)
        network = GlowNetwork(half, hidden, out_shape, rngs=rngs)
        coupling = bij.coupling_layer(network, transformer, split=half)
        mixing = bij.Reverse()
        if name != "realnvp-multiscale":
            mixing = bij.InvertibleConvolution(channels, rngs=rngs)
        return bij.chain([coupling, mixing, bij.ActNorm(channels)])

    count = config.layers or 6
    level = lambda channels: bij.repeated([step(channels) for _ in range(count)])
    return bij.multiscale([level(4 * shape[-1]), level(8 * shape[-1])], shape[-1])


def build(config: Config, dataset: Dataset, name: str) -> Dequantized:
    """A flow on [0, 1]^dim under uniform noise; its normalizations start from training images."""
    shape, rngs = dataset.train.shape[1:], nnx.Rngs(config.seed)
    hidden = config.hidden or study.by_size(shape, 64, 512)
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


def schedule(config: Config, name: str) -> optax.Schedule:
    """Flows of images bear ten times the rate, but not in their first steps."""
    if name not in ON_IMAGES:
        return config.falling()
    peak, warm_up = 10 * config.learning_rate, config.steps // 20
    return optax.warmup_cosine_decay_schedule(0.0, peak, warm_up, config.steps)


def variant(config: Config, dataset: Dataset, name: str) -> study.Variant:
    decay = config.weight_decay
    if decay is None:
        decay = 3.0 if len(dataset.train) < 10_000 else 0.01
    kernels = lambda parameters: {path: path.endswith("kernel") for path in parameters}
    optimizer = optax.chain(
        optax.clip_by_global_norm(100.0),
        optax.adamw(schedule(config, name), weight_decay=decay, mask=kernels),
    )

    def score(model: Dequantized) -> float:
        x = events(name, dataset.valid)
        return -evaluation.log_likelihood(config.key, model, x, num_particles=1).nll

    validation = Validation(score, max(config.steps // 20, 1), config.patience)
    return study.Variant(
        name=name,
        row={"model": name},
        build=lambda: build(config, dataset, name),
        players=[Player(loss=objectives.elbo(), optimizer=optimizer)],
        data=events(name, dataset.train),
        plan=config.plan(reports=20, validation=validation),
    )


def evaluate(config: Config, dataset: Dataset, name: str, model: Dequantized) -> dict[str, Any]:
    x, dims = events(name, dataset.test), math.prod(dataset.test.shape[1:])
    estimate = lambda k: evaluation.log_likelihood(config.key, model, x, num_particles=k)
    row = evaluation.baselines.row(name, estimate(1).log_px)
    bits = lambda nats: evaluation.bits_per_dim(-nats, dims)
    return row | {
        "bits_per_dim": bits(row["nll"]),
        "bits_per_dim_standard_error": bits(row["nll_standard_error"]),
        "bits_per_dim_tighter": bits(estimate(config.particles).nll),
        "parameters": state.num_parameters(model),
    }


def draw(config: Config, dataset: Dataset, model: Dequantized, path: Path) -> None:
    keys = jax.random.split(config.key, 100)
    x = jax.jit(lambda model: jax.lax.map(model.sample, keys, batch_size=50))(model)
    images = x.reshape(-1, *dataset.test.shape[1:]) / (dataset.num_levels - 1)
    pictures.save_samples(path, images)


def experiment(config: Config) -> study.Study:
    dataset = load(config)
    title = (
        f"{dataset.name}, {len(dataset.test)} test images of {dataset.num_levels} levels, "
        f"{config.noise} noise"
    )
    columns = {
        "model": "{model}",
        "bits/dim": "{bits_per_dim:.3f}",
        "±": "{bits_per_dim_standard_error:.3f}",
        f"k = {config.particles}": "{bits_per_dim_tighter:.3f}",
        "NLL, nats": "{nll:.2f}",
        "parameters": "{parameters:,}",
        "training": "{train_seconds:.1f} s",
    }
    return study.Study(
        before=[evaluation.baselines.independent_pixels(dataset)],
        variants=[variant(config, dataset, name) for name in config.flow],
        measure=lambda it: evaluate(config, dataset, it.name, it.model),
        draw_each=lambda it: draw(config, dataset, it.model, it.directory / "samples.png"),
        draw=lambda out, found: study.save_curves(
            out, found, "validation", "validation bound (nats)"
        ),
        tables=[study.Table(title, columns)],
        facts={"dataset": dataset.name, "particles": config.particles},
        units="bits per dimension and nats per image, of levels; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("density_flows", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
