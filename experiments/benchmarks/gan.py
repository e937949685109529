"""Speed of a round of a GAN beside two written by hand: python -m experiments.benchmarks.gan.

A round is one step of the critic and one of the generator: DCGAN networks with batch normalization
for images of 28 x 28, the non-saturating loss, Adam.
"""

import dataclasses
import functools
import statistics
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from rich.console import Console
from rich.table import Table

from experiments.benchmarks.iwae import interleave
from genmix import divergences, objectives
from genmix.families import Implicit, StandardNormal
from genmix.nets import DCGANCritic, DCGANGenerator
from genmix.runs import command_line, run_directory
from genmix.training import Game, Player, compile_rounds, start

SHAPE, CHANNELS, LATENT = (28, 28, 1), (128, 64), 100
RATE, B1, B2, MOMENTUM = 2e-4, 0.5, 0.999, 0.9

Run = Callable[[int], None]
"""Plays so many rounds, and waits for the end."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """PyTorch is named as missing where it is not installed."""

    batch_size: int = 64
    images: int = 1024
    rounds: int = 10
    """Of one measurement, and of one compiled call of genmix."""
    repeats: int = 7
    """Interleaved measurements of each."""
    threads: int = 2
    """Threads of PyTorch."""
    out: Path = Path("runs/benchmarks/gan.json")

    def __post_init__(self):
        for name in ("batch_size", "images", "rounds", "repeats", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.batch_size > self.images:
            raise ValueError(f"batch_size must be at most {self.images}, got {self.batch_size}.")


def build(rngs: nnx.Rngs) -> Game:
    generator = DCGANGenerator(LATENT, CHANNELS, SHAPE, rngs=rngs)
    critic = DCGANCritic(SHAPE, CHANNELS[::-1], rngs=rngs)
    return Game(generator=Implicit(StandardNormal(LATENT), generator), critic=critic)


def data(config: Config) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (config.images, *SHAPE)).astype(np.float32)


def genmix_run(config: Config) -> Run:
    losses, adam = divergences.gan.non_saturating, optax.adam(RATE, b1=B1, b2=B2)
    terms = {
        "critic": objectives.critic(objectives.data, losses),
        "generator": objectives.generator(objectives.data, losses),
    }
    players = [
        Player(name=name, loss=term.of("generator"), optimizer=adam) for name, term in terms.items()
    ]
    game_state: Any = start(jax.random.key(0), build(nnx.Rngs(0)), players)
    x = jnp.asarray(data(config))
    play = compile_rounds(players, batch_size=config.batch_size, num_rounds=config.rounds)
    play = play.lower(game_state, x).compile()

    def run(rounds: int) -> None:
        nonlocal game_state
        for _ in range(rounds // config.rounds):
            game_state, _ = play(game_state, x)
        jax.block_until_ready(game_state)

    return run


def jax_parameters(rng: np.random.Generator) -> dict[str, Any]:
    normal = lambda *shape: jnp.asarray(0.02 * rng.normal(size=shape), jnp.float32)
    zeros, ones = jnp.zeros, jnp.ones
    first, second = CHANNELS
    return {
        "generator": {
            "linear": (normal(LATENT, 49 * first), zeros(49 * first)),
            "norms": [(ones(c), zeros(c)) for c in CHANNELS],
            "kernels": [(normal(4, 4, first, second), zeros(second)),
                        (normal(4, 4, second, 1), zeros(1))],
        },
        "critic": {
            "kernels": [(normal(4, 4, 1, second), zeros(second)),
                        (normal(4, 4, second, first), zeros(first))],
            "norms": [(ones(first), zeros(first))],
            "linear": (normal(49 * first, 1), zeros(1)),
        },
    }  # fmt: skip


def jax_norm(
    x: jax.Array, weights: tuple[jax.Array, jax.Array], running: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    axes = tuple(range(x.ndim - 1))
    mean, variance = jnp.mean(x, axes), jnp.var(x, axes)
    new = tuple(
        MOMENTUM * old + (1 - MOMENTUM) * now
        for old, now in zip(running, (mean, variance), strict=True)
    )
    scale, bias = weights
    return (x - mean) * (jax.lax.rsqrt(variance + 1e-5) * scale) + bias, (new[0], new[1])


def jax_generate(p: Any, running: list[Any], z: jax.Array) -> tuple[jax.Array, list[Any]]:
    weight, bias = p["linear"]
    h, kept = (z @ weight + bias).reshape(-1, 7, 7, CHANNELS[0]), []
    for norm, old, (kernel, bias) in zip(p["norms"], running, p["kernels"], strict=True):
        h, new = jax_norm(h, norm, old)
        kept.append(new)
        layout = ("NHWC", "HWIO", "NHWC")
        h = jax.nn.relu(h)
        h = jax.lax.conv_transpose(h, kernel, (2, 2), "SAME", dimension_numbers=layout) + bias
    return jnp.tanh(h), kept


def jax_judge(p: Any, running: list[Any], x: jax.Array) -> tuple[jax.Array, list[Any]]:
    kept = []
    for i, (kernel, bias) in enumerate(p["kernels"]):
        layout = ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=layout) + bias
        if i:
            x, new = jax_norm(x, p["norms"][i - 1], running[i - 1])
            kept.append(new)
        x = jax.nn.leaky_relu(x, 0.2)
    weight, bias = p["linear"]
    return (x.reshape(len(x), -1) @ weight + bias)[:, 0], kept


def jax_run(config: Config) -> Run:
    """One jitted function a round, called again and again."""
    adam, x = optax.adam(RATE, b1=B1, b2=B2), jnp.asarray(data(config))
    p = jax_parameters(np.random.default_rng(0))
    fresh = lambda c: (jnp.zeros(c), jnp.ones(c))
    running = {"generator": [fresh(c) for c in CHANNELS], "critic": [fresh(CHANNELS[0])]}
    optimizers = {name: adam.init(p[name]) for name in p}

    @functools.partial(jax.jit, donate_argnums=(0, 1, 2))
    def step(p, running, optimizers, key, x):
        batch_key, *keys = jax.random.split(key, 3)
        real = x[jax.random.randint(batch_key, (config.batch_size,), 0, len(x))]
        noise = [jax.random.normal(k, (config.batch_size, LATENT)) for k in keys]

        def critic_loss(critic):
            fake, kept = jax_generate(p["generator"], running["generator"], noise[0])
            of_real, seen = jax_judge(critic, running["critic"], real)
            of_fake, seen = jax_judge(critic, seen, fake)
            loss = jnp.mean(jax.nn.softplus(-of_real)) + jnp.mean(jax.nn.softplus(of_fake))
            return loss, {"generator": kept, "critic": seen}

        (_, running), slopes = jax.value_and_grad(critic_loss, has_aux=True)(p["critic"])
        updates, of_critic = adam.update(slopes, optimizers["critic"])
        p = p | {"critic": optax.apply_updates(p["critic"], updates)}

        def generator_loss(generator):
            fake, kept = jax_generate(generator, running["generator"], noise[1])
            scores, _ = jax_judge(p["critic"], running["critic"], fake)
            return jnp.mean(jax.nn.softplus(-scores)), kept

        (_, kept), slopes = jax.value_and_grad(generator_loss, has_aux=True)(p["generator"])
        updates, of_generator = adam.update(slopes, optimizers["generator"])
        p = p | {"generator": optax.apply_updates(p["generator"], updates)}
        return p, running | {"generator": kept}, {"critic": of_critic, "generator": of_generator}

    key = jax.random.key(0)

    def run(rounds: int) -> None:
        nonlocal p, running, optimizers, key
        for _ in range(rounds):
            key, round_key = jax.random.split(key)
            p, running, optimizers = step(p, running, optimizers, round_key, x)
        jax.block_until_ready(p)

    return run


def torch_run(config: Config) -> Run:
    import torch
    from torch import nn

    torch.manual_seed(0)
    torch.set_num_threads(config.threads)
    first, second = CHANNELS
    norm = lambda c: nn.BatchNorm2d(c, momentum=1 - MOMENTUM)
    generator = nn.Sequential(
        nn.Linear(LATENT, 49 * first), nn.Unflatten(1, (first, 7, 7)), norm(first), nn.ReLU(),
        nn.ConvTranspose2d(first, second, 4, 2, 1), norm(second), nn.ReLU(),
        nn.ConvTranspose2d(second, 1, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip
    critic = nn.Sequential(
        nn.Conv2d(1, second, 4, 2, 1), nn.LeakyReLU(0.2),
        nn.Conv2d(second, first, 4, 2, 1), norm(first), nn.LeakyReLU(0.2),
        nn.Flatten(), nn.Linear(49 * first, 1),
    )  # fmt: skip
    adam = lambda net: torch.optim.Adam(net.parameters(), RATE, betas=(B1, B2))
    of_critic, of_generator = adam(critic), adam(generator)
    x = torch.from_numpy(data(config)).permute(0, 3, 1, 2).contiguous()
    softplus = nn.functional.softplus

    def run(rounds: int) -> None:
        for _ in range(rounds):
            real = x[torch.randint(len(x), (config.batch_size,))]
            with torch.no_grad():
                fake = generator(torch.randn(config.batch_size, LATENT))
            loss = softplus(-critic(real)).mean() + softplus(critic(fake)).mean()
            of_critic.zero_grad()
            loss.backward()
            of_critic.step()
            for parameter in critic.parameters():
                parameter.requires_grad_(False)
            fake = generator(torch.randn(config.batch_size, LATENT))
            loss = softplus(-critic(fake)).mean()
            of_generator.zero_grad()
            loss.backward()
            of_generator.step()
            for parameter in critic.parameters():
                parameter.requires_grad_(True)

    return run


def main(config: Config) -> list[dict[str, Any]]:
    makers = {"genmix": genmix_run, "hand-written JAX": jax_run, "hand-written PyTorch": torch_run}
    if not find_spec("torch"):
        makers.pop("hand-written PyTorch")
        print("hand-written PyTorch is missing: torch is not installed")
    runs = {name: make(config) for name, make in makers.items()}
    for run in runs.values():
        run(config.rounds)  # compiles
    seconds = interleave(runs, config.repeats, dict.fromkeys(runs, config.rounds))
    median = {name: statistics.median(values) for name, values in seconds.items()}
    rows = [
        {
            "contestant": name,
            "milliseconds": 1e3 * median[name],
            "spread": (max(values) - min(values)) / median[name],
            "genmix_is_faster_by": median[name] / median["genmix"],
        }
        for name, values in seconds.items()
    ]
    title = f"a round of DCGAN, {SHAPE[0]} x {SHAPE[1]}, batch {config.batch_size}"
    table = Table("contestant", "ms", "spread", "genmix is", title=title)
    for row in rows:
        ratio = f"{row['genmix_is_faster_by']:.2f} x as fast"
        table.add_row(
            row["contestant"], f"{row['milliseconds']:.1f}", f"{row['spread']:.0%}", ratio
        )
    Console().print(table)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    run_directory.write_json(
        config.out,
        {
            "rows": rows,
            "batch_size": config.batch_size,
            "versions": run_directory.versions(),
            "git_commit": run_directory.git_commit(),
        },
    )
    print(f"written to {config.out}")
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
