"""Speed of IWAE training and NLL evaluation beside peers: python -m experiments.benchmarks.iwae.

The networks are Burda et al.'s for MNIST (784-200-200-50); the data are random bits, since speed
does not depend on them. All contestants binarize each batch anew, as training does.
"""

import concurrent.futures
import dataclasses
import itertools
import math
import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from rich.console import Console
from rich.table import Table

from genmix import bounds, command_line, data, evaluation
from genmix.families import Bernoulli, FactorizedNormal, LatentVariableModel, StandardNormal
from genmix.nets import MLP
from genmix.training import Player, compile_rounds, feed, objectives, run_directory, start

PIXELS, HIDDEN, LATENT = 784, 200, 50


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Contestants that are not installed are left out; `pip install -e .[bench]` brings them."""

    batch_sizes: tuple[int, ...] = (20, 100)
    k: tuple[int, ...] = (1, 5, 50)
    repeats: int = 7
    """Interleaved measurements of each contestant."""
    seconds: float = 1.0
    """Length of one measurement, about."""
    nll_images: int = 500
    nll_particles: int = 5000
    threads: int = 2
    """Threads of PyTorch."""
    out: Path = Path("runs/benchmarks/iwae.json")


Step = Callable[[int], None]
"""Runs that many training steps and waits for the last."""


def images(n: int = 2000) -> np.ndarray:
    return np.random.default_rng(0).random((n, PIXELS), np.float32)


def genmix_model() -> LatentVariableModel:
    rngs = nnx.Rngs(0)
    return LatentVariableModel(
        prior=StandardNormal(LATENT),
        likelihood=Bernoulli(MLP(LATENT, (HIDDEN, HIDDEN), PIXELS, rngs=rngs)),
        posterior=FactorizedNormal(MLP(PIXELS, (HIDDEN, HIDDEN), 2 * LATENT, rngs=rngs)),
    )


def genmix_step(
    batch_size: int,
    k: int,
    num_steps: int,
    *,
    estimator: Any = bounds.reparameterized.estimate,
    examples_at_once: int | None = None,
) -> Step:
    player = Player(
        loss=objectives.iwae(k, estimator=estimator),
        optimizer=optax.adam(1e-3),
        examples_at_once=examples_at_once,
    )
    state = start(jax.random.key(0), genmix_model(), [player])
    x = jnp.asarray(images())
    rounds = compile_rounds(
        [player], batch_size=batch_size, num_rounds=num_steps, transform=data.binarize
    )
    program = rounds.lower(state, x).compile()
    held = [state]

    def step(calls: int) -> None:
        for _ in range(calls):
            held[0], _ = program(held[0], x)
        jax.block_until_ready(held[0])

    return step


def dense(parameters: list[tuple[jax.Array, jax.Array]], x: jax.Array) -> jax.Array:
    for i, (weight, bias) in enumerate(parameters):
        x = x @ weight + bias.reshape((1,) * (x.ndim - 1) + (-1,))
        x = jnp.tanh(x) if i < len(parameters) - 1 else x
    return x


def dense_parameters(key: jax.Array, sizes: list[int]) -> list[tuple[jax.Array, jax.Array]]:
    keys = jax.random.split(key, len(sizes) - 1)
    glorot = jax.nn.initializers.glorot_uniform()
    pairs = zip(keys, itertools.pairwise(sizes), strict=True)
    return [(glorot(key, (a, b)), jnp.zeros(b)) for key, (a, b) in pairs]


def jax_log_weights(parameters: Any, key: jax.Array, x: jax.Array, k: int) -> jax.Array:
    """Log-weights [batch, k] as one would write them for this one model."""
    encoder, decoder = parameters
    loc, raw = jnp.split(dense(encoder, x), 2, axis=-1)
    scale = 1e-4 + jax.nn.softplus(raw)
    noise = jax.random.normal(key, (len(x), k, LATENT))
    z = loc[:, None] + scale[:, None] * noise
    logits = dense(decoder, z)
    log_likelihood = jnp.sum(x[:, None] * logits - jax.nn.softplus(logits), axis=-1)
    log_prior = -0.5 * jnp.sum(z**2, axis=-1)
    log_posterior = -jnp.sum(0.5 * noise**2 + jnp.log(scale)[:, None], axis=-1)
    return log_likelihood + log_prior - log_posterior


def jax_step(batch_size: int, k: int, num_steps: int) -> Step:
    """One `lax.scan` over steps, written by hand for this model."""
    optimizer = optax.adam(1e-3)
    keys = jax.random.split(jax.random.key(0))
    parameters = (
        dense_parameters(keys[0], [PIXELS, HIDDEN, HIDDEN, 2 * LATENT]),
        dense_parameters(keys[1], [LATENT, HIDDEN, HIDDEN, PIXELS]),
    )

    def loss(parameters, key, x):
        log_weights = jax_log_weights(parameters, key, x, k)
        return -jnp.mean(jax.nn.logsumexp(log_weights, axis=1) - math.log(k))

    def one(carry, inputs):
        (parameters, state), (key, index), x = carry[:2], inputs, carry[2]
        bit_key, noise_key = jax.random.split(key)
        probabilities = x[index]
        batch = (jax.random.uniform(bit_key, probabilities.shape) < probabilities) * 1.0
        value, gradient = jax.value_and_grad(loss)(parameters, noise_key, batch)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(parameters, updates), state, x), value

    def many(carry, key, x):
        order_key, step_key = jax.random.split(key)
        epochs = -(-num_steps * batch_size // len(x)) + 1
        order = jax.vmap(lambda key: jax.random.permutation(key, len(x)))(
            jax.random.split(order_key, epochs)
        ).reshape(-1)[: num_steps * batch_size]
        index = order.reshape(num_steps, batch_size)
        step_keys = jax.random.split(step_key, num_steps)
        (parameters, state, _), values = jax.lax.scan(one, (*carry, x), (step_keys, index))
        return (parameters, state), values

    x = jnp.asarray(images())
    carry = (parameters, optimizer.init(parameters))
    compiled = jax.jit(many, donate_argnums=0).lower(carry, jax.random.key(1), x).compile()
    held = [carry, 0]

    def step(calls: int) -> None:
        for _ in range(calls):
            held[1] += 1
            held[0], _ = compiled(held[0], jax.random.key(held[1]), x)
        jax.block_until_ready(held[0])

    return step


def torch_networks() -> tuple[Any, Any]:
    import torch

    def mlp(sizes):
        layers = []
        for a, b in itertools.pairwise(sizes):
            layers += [torch.nn.Linear(a, b), torch.nn.Tanh()]
        return torch.nn.Sequential(*layers[:-1])

    return mlp([PIXELS, HIDDEN, HIDDEN, 2 * LATENT]), mlp([LATENT, HIDDEN, HIDDEN, PIXELS])


def torch_log_weights(encoder: Any, decoder: Any, x: Any, k: int) -> Any:
    import torch

    loc, raw = encoder(x).chunk(2, dim=-1)
    scale = 1e-4 + torch.nn.functional.softplus(raw)
    noise = torch.randn(len(x), k, LATENT)
    z = loc[:, None] + scale[:, None] * noise
    logits = decoder(z)
    log_likelihood = (x[:, None] * logits - torch.nn.functional.softplus(logits)).sum(-1)
    log_posterior = -(0.5 * noise**2 + scale.log()[:, None]).sum(-1)
    return log_likelihood - 0.5 * (z**2).sum(-1) - log_posterior


def torch_step(batch_size: int, k: int, num_steps: int) -> Step:
    import torch

    encoder, decoder = torch_networks()
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 1e-3)
    x = torch.from_numpy(images())

    def step(calls: int) -> None:
        order = torch.randint(len(x), (calls * num_steps, batch_size))
        for index in order:
            batch = torch.bernoulli(x[index])
            log_weights = torch_log_weights(encoder, decoder, batch, k)
            loss = -(torch.logsumexp(log_weights, 1) - math.log(k)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return step


def pythae_model(k: int) -> Any:
    import torch
    from pythae.models import IWAE, IWAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    networks = torch_networks()

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.network = networks[0]

        def forward(self, x):
            embedding, log_covariance = self.network(x).chunk(2, dim=-1)
            return ModelOutput(embedding=embedding, log_covariance=log_covariance)

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            self.network = networks[1]

        def forward(self, z):
            return ModelOutput(reconstruction=torch.sigmoid(self.network(z)))

    config = IWAEConfig(
        input_dim=(PIXELS,), latent_dim=LATENT, number_samples=k, reconstruction_loss="bce"
    )
    return IWAE(config, encoder=Encoder(), decoder=Decoder())


def pythae_step(batch_size: int, k: int, num_steps: int) -> Step:
    import torch

    model = pythae_model(k)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    x = torch.from_numpy(images())

    def step(calls: int) -> None:
        order = torch.randint(len(x), (calls * num_steps, batch_size))
        for index in order:
            output = model({"data": torch.bernoulli(x[index])})
            optimizer.zero_grad()
            output.loss.backward()
            optimizer.step()

    return step


def genmix_step_in_parts(batch_size: int, k: int, num_steps: int) -> Step:
    """Gradients of about 1,000 (image, particle) pairs at a time, which fit into the cache."""
    fitting = [n for n in range(1, batch_size + 1) if batch_size % n == 0 and n * k <= 1000]
    return genmix_step(batch_size, k, num_steps, examples_at_once=max(fitting, default=1))


def genmix_step_resampled(batch_size: int, k: int, num_steps: int) -> Step:
    """One particle of k differentiated: another estimator, with a noisier gradient."""
    return genmix_step(batch_size, k, num_steps, estimator=bounds.resampled.estimate)


def genmix_step_streamed(batch_size: int, k: int, num_steps: int) -> Step:
    """Batches read by Grain while the device computes, instead of gathered on it."""
    player = Player(loss=objectives.iwae(k), optimizer=optax.adam(1e-3))
    state = start(jax.random.key(0), genmix_model(), [player])
    stream = data.Stream(images(), batch_size=batch_size, seed=0)
    source = feed.Streamed(stream, batch_size=batch_size, batches_per_round=1)
    rounds = compile_rounds(
        [player],
        batch_size=batch_size,
        num_rounds=num_steps,
        transform=data.binarize,
        data_are_batches=True,
    )
    program = rounds.lower(state, source.take(num_steps)).compile()
    held = [state]

    def step(calls: int) -> None:
        for _ in range(calls):
            held[0], _ = program(held[0], source.take(num_steps))
            source.prepare(num_steps)
        jax.block_until_ready(held[0])

    return step


STEPS: dict[str, Callable[[int, int, int], Step]] = {
    "genmix": genmix_step,
    "genmix, streamed": genmix_step_streamed,
    "genmix, in parts": genmix_step_in_parts,
    "genmix, resampled": genmix_step_resampled,
    "hand-written JAX": jax_step,
    "hand-written PyTorch": torch_step,
    "Pythae": pythae_step,
}


def available(names: list[str]) -> list[str]:
    """Those contestants whose packages are installed."""
    from importlib.util import find_spec

    needs = {"hand-written PyTorch": "torch", "Pythae": "pythae"}
    return [name for name in names if name not in needs or find_spec(needs[name])]


def interleave(contestants: dict[str, Step], repeats: int, calls: dict[str, int]) -> dict[str, Any]:
    """Seconds a call of each contestant, measured in turn so that all see the same machine."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, run in contestants.items():
            begin = time.perf_counter()
            run(calls[name])
            seconds[name].append((time.perf_counter() - begin) / calls[name])
    return seconds


def matmul_peak() -> float:
    """GFLOP/s of a large float32 matrix product, best of several."""
    a = jnp.asarray(np.random.default_rng(0).random((2048, 2048), np.float32))
    product = jax.jit(lambda a: a @ a)
    best = math.inf
    for _ in range(6):
        begin = time.perf_counter()
        jax.block_until_ready(product(a))
        best = min(best, time.perf_counter() - begin)
    return 2 * 2048**3 / best / 1e9


def step_flops(batch_size: int, k: int) -> float:
    """FLOPs of the matrix products of one step: forward once, backward twice that."""
    encoder = PIXELS * HIDDEN + HIDDEN * HIDDEN + HIDDEN * 2 * LATENT
    decoder = LATENT * HIDDEN + HIDDEN * HIDDEN + HIDDEN * PIXELS
    # The encoder's input needs no gradient.
    backward = encoder - PIXELS * HIDDEN + encoder
    return 2.0 * batch_size * (encoder + backward + 3 * k * decoder)


def contestants_of(batch_size: int, k: int) -> list[str]:
    """Parts where there is more than one, resampling where there is a choice."""
    left_out = set()
    if batch_size * k <= 1000:
        left_out.add("genmix, in parts")
    if k == 1:
        left_out.add("genmix, resampled")
    return [name for name in available(list(STEPS)) if name not in left_out]


def time_steps(config: Config, batch_size: int, k: int, peak: float) -> list[dict[str, Any]]:
    num_steps = 100 if k * batch_size <= 500 else 20
    contestants, calls, compile_seconds = {}, {}, {}
    for name in contestants_of(batch_size, k):
        begin = time.perf_counter()
        run = STEPS[name](batch_size, k, num_steps)
        compile_seconds[name] = time.perf_counter() - begin
        run(1)
        begin = time.perf_counter()
        run(1)
        calls[name] = max(1, round(config.seconds / (time.perf_counter() - begin)))
        contestants[name] = run
    rows = []
    for name, seconds in interleave(contestants, config.repeats, calls).items():
        per_step = [s / num_steps for s in seconds]
        median = statistics.median(per_step)
        gflops = step_flops(batch_size, k) / median / 1e9
        rows.append(
            {
                "contestant": name,
                "batch_size": batch_size,
                "k": k,
                "milliseconds": 1e3 * median,
                "spread": (max(per_step) - min(per_step)) / median,
                "set_up_seconds": compile_seconds[name],
                "gflops": gflops,
                "of_peak": gflops / peak,
            }
        )
    return rows


def genmix_nll(config: Config) -> Step:
    model, x = genmix_model(), (images(config.nll_images) > 0.5).astype(np.float32)

    def run(calls: int) -> None:
        for _ in range(calls):
            evaluation.log_likelihood(
                jax.random.key(0), model, x, num_particles=config.nll_particles
            )

    return run


def torch_nll(config: Config) -> Step:
    """Chunks of 500 particles of 20 images with a running logsumexp."""
    import torch

    encoder, decoder = torch_networks()
    x = (torch.from_numpy(images(config.nll_images)) > 0.5).float()

    def run(calls: int) -> None:
        with torch.no_grad():
            for _ in range(calls):
                for batch in x.split(20):
                    total = torch.full((len(batch),), -math.inf)
                    for _ in range(config.nll_particles // 500):
                        log_weights = torch_log_weights(encoder, decoder, batch, 500)
                        total = torch.logaddexp(total, torch.logsumexp(log_weights, 1))

    return run


def pythae_nll(config: Config) -> Step:
    """Pythae's own estimator, image by image."""
    import torch

    model = pythae_model(1)
    x = (torch.from_numpy(images(config.nll_images)) > 0.5).float()

    def run(calls: int) -> None:
        import contextlib
        import io

        with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
            for _ in range(calls):
                model.get_nll(x, n_samples=config.nll_particles, batch_size=500)

    return run


def nll_memory(config: Config) -> float:
    """MiB that NLL evaluation takes at its peak, above an idle JAX with the model and the data.

    Measured in a process of its own, since a peak is that of a whole life.
    """
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_nll_memory, config).result()


def _nll_memory(config: Config) -> float:
    model, x = genmix_model(), jnp.asarray(images(config.nll_images) > 0.5, jnp.float32)
    jax.block_until_ready((model, x, jax.jit(lambda x: x @ x.T)(x)))
    idle = peak_kib()
    evaluation.log_likelihood(jax.random.key(0), model, x, num_particles=config.nll_particles)
    return (peak_kib() - idle) / 1024


def peak_kib() -> int:
    """Of this program: `ru_maxrss` begins at what the process that started it held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def time_nll(config: Config) -> list[dict[str, Any]]:
    makers = {"genmix": genmix_nll, "hand-written PyTorch": torch_nll, "Pythae": pythae_nll}
    contestants = {name: makers[name](config) for name in available(list(makers))}
    if "genmix" in contestants:
        contestants["genmix"](1)  # compile
    seconds = interleave(contestants, 3, dict.fromkeys(contestants, 1))
    return [
        {
            "contestant": name,
            "seconds": statistics.median(values),
            "spread": (max(values) - min(values)) / statistics.median(values),
        }
        for name, values in seconds.items()
    ]


def print_steps(rows: list[dict[str, Any]], peak: float) -> None:
    table = Table(title=f"training step; peak of a matrix product {peak:.0f} GFLOP/s")
    for name in ("batch", "k", "contestant", "ms", "spread", "of peak", "genmix is", "set-up"):
        table.add_column(name, justify="left" if name == "contestant" else "right")
    ours = {
        (r["batch_size"], r["k"]): r["milliseconds"] for r in rows if r["contestant"] == "genmix"
    }
    for row in rows:
        ratio = row["milliseconds"] / ours[row["batch_size"], row["k"]]
        table.add_row(
            str(row["batch_size"]),
            str(row["k"]),
            row["contestant"],
            f"{row['milliseconds']:.3f}",
            f"{100 * row['spread']:.0f} %",
            f"{100 * row['of_peak']:.0f} %",
            f"{ratio:.2f} x as fast",
            f"{row['set_up_seconds']:.1f} s",
        )
    Console().print(table)


def print_nll(rows: list[dict[str, Any]], memory: float, config: Config) -> None:
    title = (
        f"NLL of {config.nll_images} images, k = {config.nll_particles}; genmix's takes "
        f"{memory:.0f} MiB above idle"
    )
    table = Table("contestant", "seconds", "spread", "genmix is", title=title)
    for row in rows:
        ratio = row["seconds"] / rows[0]["seconds"]
        spread = f"{100 * row['spread']:.0f} %"
        table.add_row(row["contestant"], f"{row['seconds']:.2f}", spread, f"{ratio:.2f} x as fast")
    Console().print(table)


def main(config: Config) -> None:
    if "hand-written PyTorch" in available(["hand-written PyTorch"]):
        import torch

        torch.set_num_threads(config.threads)
    peak = matmul_peak()
    steps = [
        row
        for batch_size in config.batch_sizes
        for k in config.k
        for row in time_steps(config, batch_size, k, peak)
    ]
    print_steps(steps, peak)
    nll, memory = (time_nll(config), nll_memory(config)) if config.nll_images else ([], 0.0)
    if nll:
        print_nll(nll, memory, config)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    run_directory.write_json(
        config.out,
        {
            "steps": steps,
            "nll": nll,
            "nll_mib_above_idle": memory,
            "peak_gflops": peak,
            "versions": run_directory.versions(),
            "git_commit": run_directory.git_commit(),
        },
    )
    print(f"written to {config.out}")


if __name__ == "__main__":
    command_line.run(main, Config)
