"""Diffusions in the plane, of bits and of images: python -m experiments.diffusion.

Bounds on log p(x) and what is drawn: a spiral with films of both directions, the binary heartbeat
of Sohl-Dickstein et al. (2015), section 3.1.2, and grey images with their halves filled in.
"""

import dataclasses
import functools
import math
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments import study
from genmix import data, evaluation
from genmix.data import toy_2d
from genmix.evaluation import pictures
from genmix.families import DDIM, Denoiser, Diffusion, DiscreteDiffusion, Multiplied
from genmix.families.diffusion import gaussian_kernel as kernel
from genmix.families.diffusion.decoders import Levels
from genmix.families.diffusion.multiplication import inpainted
from genmix.families.diffusion.schedules import Linear
from genmix.nets import TimeMLP, UNet
from genmix.objectives import diffusion
from genmix.runs import command_line
from genmix.training import Player

PULSES = 5  # a heartbeat has a one in every so many bits
BEATS = 20
ENTROPY_BITS = math.log2(PULSES)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.Training):
    """Defaults are the three small sets, in minutes on two CPU cores."""

    dataset: study.Each[Literal["swiss-roll", "heartbeat", "digits", "mnist", "fashion-mnist"]] = (
        "swiss-roll",
        "heartbeat",
        "digits",
    )
    data_dir: Path | None = None
    """Folder that holds mnist/ and fashion_mnist/; the others need none."""
    limit: study.Count | None = None
    """Images to test on, at most, evenly spaced in their set; all by default."""
    noise: study.Each[Literal["binomial", "masks"]] = ("binomial", "masks")
    """Of the heartbeat: bits that are drawn anew, or hidden."""
    loss: Literal["bound", "simple", "hybrid"] = "bound"
    """What images and points are trained by."""
    channels: tuple[study.Count, ...] = (16, 32)
    """Of the U-Net of images, one for each resolution."""
    width: study.Count = 128
    """Of the network of points and of the heartbeat."""
    average: float = 0.999
    """Decay a step of the moving average of the parameters, which is what is evaluated."""
    times: study.Count = 50
    """Times of each test event, for its bound."""
    bit_steps: study.Count = 500
    """Steps of the heartbeat's chain."""
    draw_steps: study.Count = 200
    """Steps of the ancestral sampler."""


def heartbeats(key: jax.Array, num: int) -> np.ndarray:
    """Bits with a one in every five, at a random phase."""
    phase = jax.random.randint(key, (num, 1), 0, PULSES)
    return np.asarray((jnp.arange(BEATS)[None] - phase) % PULSES == 0, np.float32)


def rolls(key: jax.Array, num: int) -> np.ndarray:
    """Points of the spiral, of about unit variance."""
    return np.asarray(jax.vmap(toy_2d.swiss_roll)(jax.random.split(key, num))) / 1.5


def points(config: Config) -> study.Variant:
    def build() -> Diffusion:
        network = TimeMLP((2,), config.width, 3, rngs=nnx.Rngs(config.seed))
        denoiser, schedule = Denoiser(network), Linear(-9.0, 6.0)
        return Diffusion(denoiser, shape=(2,), schedule=schedule, num_steps=config.draw_steps)

    train = rolls(jax.random.key(config.seed), 20_000)
    return variant(config, "swiss roll", "normal noise", build, train, loss_of(config))


def beats(config: Config, noise: str) -> study.Variant:
    is_absorbing = noise == "masks"

    def build() -> DiscreteDiffusion:
        network = TimeMLP(
            (BEATS, 2 + is_absorbing),
            config.width,
            3,
            out_shape=(BEATS, 2),
            span=(0.0, 1.0),
            rngs=nnx.Rngs(config.seed),
        )
        return DiscreteDiffusion(
            network,
            shape=(BEATS,),
            num_levels=2,
            num_steps=config.bit_steps,
            is_absorbing=is_absorbing,
        )

    train = heartbeats(jax.random.key(config.seed), 20_000)
    return variant(config, "heartbeat", noise, build, train, diffusion.bound())


def images(config: Config, name: str) -> study.Variant:
    dataset = load(config, name)

    def build() -> Diffusion:
        shape = dataset.train.shape[1:]
        network = UNet(shape, config.channels, rngs=nnx.Rngs(config.seed))
        return Diffusion(
            Denoiser(network),
            shape=shape,
            schedule=Linear(-9.0 if dataset.num_levels < 50 else -13.3, 5.0),
            decoder=Levels(dataset.num_levels),
            num_steps=config.draw_steps,
        )

    return variant(config, name, "normal noise", build, dataset.train, loss_of(config))


@functools.lru_cache
def load(config: Config, name: str) -> data.Dataset:
    return data.thinned(data.load(name, config.data_dir, pixels="levels"), config.limit)


def loss_of(config: Config) -> Any:
    """The term of a diffusion with normal noise."""
    terms = {
        "bound": diffusion.bound,
        "simple": diffusion.simple,
        "hybrid": diffusion.hybrid,
    }
    return terms[config.loss]()


def variant(
    config: Config, name: str, noise: str, build: Any, train: np.ndarray, term: Any
) -> study.Variant:
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(config.falling()))
    # The gradient of a bound in nats grows with the event; clipping leaves its direction.
    return study.Variant(
        name=f"{name}, {noise}",
        folder=f"{name}-{noise}".replace(" ", "-"),
        row={"dataset": name, "noise": noise},
        build=build,
        players=[Player(loss=term, optimizer=optimizer)],
        data=train,
        plan=config.plan(average_decay=config.average),
    )


def test_events(config: Config, name: str) -> np.ndarray:
    key = jax.random.key(config.seed + 1)
    if name == "heartbeat":
        return heartbeats(key, 2000)
    if name == "swiss roll":
        return rolls(key, 2000)
    return load(config, name).test


def measure(config: Config, result: study.Result) -> dict[str, Any]:
    """The bound on the test events, and what there is to see of draws."""
    name = result.row["dataset"]
    x = test_events(config, name)
    bounds = evaluation.time_bound(config.key, result.model, x, num_times=config.times).astype(
        np.float64
    )
    nll, error = -bounds.mean(), evaluation.standard_error(bounds)
    figures: dict[str, Any] = {"nll": float(nll), "nll_standard_error": error}
    figures |= dict.fromkeys(("bits", "bits_per_dim", "valid"))  # each is for some sets
    dims = math.prod(x.shape[1:])
    if name == "heartbeat":
        draws = jax.jit(jax.vmap(result.model.sample))(jax.random.split(config.key, 1000))
        kinds = {row.tobytes() for row in heartbeats(config.key, 1000)}
        right = np.mean([np.asarray(row, np.float32).tobytes() in kinds for row in draws])
        figures |= {"bits": float(nll / math.log(2)), "valid": float(right)}
    elif name != "swiss roll":
        figures["bits_per_dim"] = evaluation.bits_per_dim(-float(nll), dims)
    return figures


def draw(config: Config, result: study.Result) -> None:
    """Films of points; draws of bits as rows of one picture; images, and their lower halves."""
    name, out, model = result.row["dataset"], result.directory, result.model
    if name == "swiss roll":
        draw_films(config, model, out / "films.png")
    elif name == "heartbeat":
        bits = jax.jit(jax.vmap(model.sample))(jax.random.split(config.key, 20))
        pictures.save_samples(out / "samples.png", np.asarray(bits)[None, :, :, None], columns=1)
    else:
        top = load(config, name).num_levels - 1
        drawn = jax.jit(lambda keys: jax.lax.map(model.sample, keys, batch_size=25))
        pictures.save_samples(
            out / "samples.png", drawn(jax.random.split(config.key, 100)) / top, columns=20
        )
        fill(config, model, out / "inpainting.png", load(config, name).test[:10], top)


def draw_films(config: Config, model: Diffusion, path: Path) -> None:
    """Data as it becomes noise, and noise as it becomes data: ancestral, and along the flow."""
    times = np.linspace(0, 1, 101)
    shown = [0, 5, 15, 30, 50, 100]
    x = jnp.asarray(test_events(config, "swiss roll"))
    gammas = model.levels(jnp.asarray(times))
    noise = jax.random.normal(config.key, x.shape)
    forward = jax.vmap(lambda gamma: kernel.diffuse(x, noise, gamma))(gammas)
    rows = {"data to noise": {f"t = {times[i]:.2f}": forward[i] for i in shown}}
    for label, eta in (("ancestral", 1.0), ("deterministic", 0.0)):
        sampler = DDIM(model, times, eta=eta)
        path_of = jax.jit(jax.vmap(sampler.path))(jax.random.split(config.key, len(x)))
        rows[label] = {f"t = {times[i]:.2f}": path_of[:, i] for i in shown}
    pictures.save_clouds(path, rows, reach=3.0)


def fill(config: Config, model: Diffusion, path: Path, x: np.ndarray, top: int) -> None:
    """Test images, their upper halves, and three ways to go on from there."""
    mask = jnp.ones(x.shape[1:]).at[x.shape[1] // 2 :].set(0)

    def one(key: jax.Array, x: jax.Array) -> jax.Array:
        factor = Multiplied(model.denoiser, observed=model.encode(x), mask=mask, data_scale=0.7)
        posterior = Diffusion(
            factor,
            shape=model.shape,
            schedule=model.schedule,
            decoder=model.decoder,
            num_steps=model.num_steps,
        )
        return inpainted(posterior.sample(key), x, mask)

    known = jnp.asarray(x, jnp.float32)
    each = jax.jit(lambda keys: jax.lax.map(lambda p: one(*p), (keys, known), batch_size=10))
    keys = jax.random.split(config.key, (3, len(x)))
    rows = [known, known * mask[None], *(each(row) for row in keys)]
    pictures.save_samples(path, jnp.concatenate(rows) / top, columns=len(x))


def experiment(config: Config) -> study.Study:
    variants = []
    for name in config.dataset:
        if name == "swiss-roll":
            variants.append(points(config))
        elif name == "heartbeat":
            variants += [beats(config, noise) for noise in config.noise]
        else:
            variants.append(images(config, name))
    columns = {
        "data": "{dataset}",
        "noise": "{noise}",
        "bound, nats": "{nll:.3f} ± {nll_standard_error:.3f}",
        "bits": "{bits:.4f}",
        "bits/dim": "{bits_per_dim:.3f}",
        "valid": "{valid:.1%}",
        "training": "{train_seconds:.0f} s",
    }
    return study.Study(
        variants=variants,
        measure=lambda result: measure(config, result),
        draw_each=lambda result: draw(config, result),
        tables=[study.Table("minus the bound on log p(x) of test events", columns)],
        facts={"heartbeat_entropy_bits": ENTROPY_BITS, "times": config.times},
        units="nats per event; bits per event of the heartbeat; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("diffusion", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
