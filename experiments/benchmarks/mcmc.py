"""Transitions a second of many chains beside peers: python -m experiments.benchmarks.mcmc.

Each contestant runs the same kernel with the same settings from the same positions in one compiled
loop that keeps the last state alone. Quality: acceptance, and effective draws of stored runs.
"""

import dataclasses
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from experiments.benchmarks.iwae import interleave
from genmix import command_line, mcmc
from genmix.training import run_directory

Kernel = Literal["random-walk", "mala", "hmc"]
Target = Literal["banana", "gaussian-10", "gaussian-100", "logistic"]
Run = Callable[[int], None]
"""Runs that many calls of `num_steps` transitions and waits for the last."""

LEAPFROG = 10
SIZES: dict[str, dict[str, float]] = {
    "banana": {"random-walk": 1.5, "mala": 0.4, "hmc": 0.3},
    "gaussian-10": {"random-walk": 0.5, "mala": 0.15, "hmc": 0.3},
    "gaussian-100": {"random-walk": 0.1, "mala": 0.05, "hmc": 0.15},
    "logistic": {"random-walk": 0.02, "mala": 0.001, "hmc": 0.02},
}
"""Step sizes, the same for all contestants."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Contestants that are not installed are left out; `pip install -e .[bench]` brings them."""

    targets: tuple[Target, ...] = ("banana", "gaussian-10", "gaussian-100", "logistic")
    kernels: tuple[Kernel, ...] = ("random-walk", "mala", "hmc")
    chains: tuple[int, ...] = (1, 64, 1024, 8192)
    repeats: int = 5
    """Interleaved measurements of each contestant."""
    seconds: float = 0.3
    """Length of one measurement, about."""
    seed: int = 0
    out: Path = Path("runs/benchmarks/mcmc.json")

    def __post_init__(self):
        for name in ("targets", "kernels", "chains"):
            if not getattr(self, name):
                raise ValueError(f"{name} needs at least one entry, got none.")
        if min(self.chains) < 1 or self.repeats < 1 or not self.seconds > 0:
            raise ValueError("chains, repeats and seconds must be positive.")


def banana(x: jax.Array) -> jax.Array:
    return -0.5 * (x[0] ** 2 / 4 + (x[1] - 0.25 * x[0] ** 2) ** 2)


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """Zero mean and the covariance rho^|i - j|."""

    dim: int
    rho: float = 0.5

    def __call__(self, x: jax.Array) -> jax.Array:
        index = np.arange(self.dim)
        covariance = self.rho ** np.abs(index[:, None] - index[None])
        precision = jnp.asarray(np.linalg.inv(covariance), jnp.float32)
        return -0.5 * x @ (precision @ x)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Logistic:
    """Posterior of logistic regression with 1,000 examples and 24 features."""

    features: jax.Array
    labels: jax.Array

    def __call__(self, weights: jax.Array) -> jax.Array:
        logits = self.features @ weights
        return jnp.sum(self.labels * logits - jax.nn.softplus(logits)) - 0.5 * jnp.sum(weights**2)


def problem(name: Target) -> tuple[Any, int]:
    """Log-density and number of dimensions."""
    if name == "banana":
        return banana, 2
    if name != "logistic":
        dim = int(name.removeprefix("gaussian-"))
        return Gaussian(dim), dim
    rng = np.random.default_rng(0)
    features = rng.normal(size=(1000, 24)).astype(np.float32)
    truth = rng.normal(size=24).astype(np.float32)
    labels = rng.random(1000) < 1 / (1 + np.exp(-features @ truth))
    return Logistic(jnp.asarray(features), jnp.asarray(labels, jnp.float32)), 24


@dataclasses.dataclass(frozen=True)
class Case:
    """What every contestant is given."""

    logdensity_fn: Any
    positions: jax.Array  # [chains, dim]
    kernel: Kernel
    step_size: float
    num_steps: int
    seed: int


def genmix_kernel(case: Case) -> Any:
    if case.kernel == "hmc":
        return mcmc.hmc.build(case.logdensity_fn, case.step_size, LEAPFROG)
    build = mcmc.mala.build if case.kernel == "mala" else mcmc.random_walk.build
    return build(case.logdensity_fn, case.step_size)


def genmix_run(case: Case, layout: Any) -> Run:
    kernel = genmix_kernel(case)
    held = [mcmc.start(jax.random.key(case.seed), kernel, case.positions)]

    def run(calls: int) -> None:
        for _ in range(calls):
            held[0], _ = mcmc.advance(held[0], kernel, num_steps=case.num_steps, layout=layout)
        jax.block_until_ready(held[0])

    return run


def scanned(case: Case, init: Callable[..., Any], step: Callable[..., Any]) -> Run:
    """A peer's kernel, mapped over chains inside one scan, as its documentation does."""
    state = jax.vmap(init)(case.positions)
    num_chains = len(case.positions)

    @jax.jit
    def many(state, key):
        def one(state, key):
            keys = jax.random.split(key, num_chains)
            return jax.vmap(step)(keys, state), None

        return jax.lax.scan(one, state, jax.random.split(key, case.num_steps))[0]

    held = [state, 0]

    def run(calls: int) -> None:
        for _ in range(calls):
            held[1] += 1
            held[0] = many(held[0], jax.random.key(held[1]))
        jax.block_until_ready(held[0])

    return run


def blackjax_run(case: Case) -> Run:
    import blackjax

    dim, inner = case.positions.shape[1], case.logdensity_fn
    if case.kernel == "random-walk":
        kernel = blackjax.normal_random_walk(inner, case.step_size * jnp.ones(dim))
    elif case.kernel == "mala":
        kernel = blackjax.mala(inner, case.step_size)
    else:
        kernel = blackjax.hmc(inner, case.step_size, jnp.ones(dim), LEAPFROG)
    return scanned(case, kernel.init, lambda key, state: kernel.step(key, state)[0])


def tfp_run(case: Case) -> Run:
    """TFP batches its chains itself, so the target is given all of them."""
    import tensorflow_probability.substrates.jax.mcmc as tfp_mcmc

    target = jax.vmap(case.logdensity_fn)
    if case.kernel == "random-walk":
        normal = tfp_mcmc.random_walk_normal_fn(scale=case.step_size)
        kernel = tfp_mcmc.RandomWalkMetropolis(target, new_state_fn=normal)
    elif case.kernel == "mala":
        # Its step is that of the noise, sqrt(2 step_size).
        kernel = tfp_mcmc.MetropolisAdjustedLangevinAlgorithm(target, 2 * case.step_size)
    else:
        kernel = tfp_mcmc.HamiltonianMonteCarlo(target, case.step_size, LEAPFROG)
    results = kernel.bootstrap_results(case.positions)

    @jax.jit
    def many(carry, key):
        one = lambda carry, key: (kernel.one_step(*carry, seed=key), None)
        return jax.lax.scan(one, carry, jax.random.split(key, case.num_steps))[0]

    held: list[Any] = [(case.positions, results), 0]

    def run(calls: int) -> None:
        for _ in range(calls):
            held[1] += 1
            held[0] = many(held[0], jax.random.PRNGKey(held[1]))
        jax.block_until_ready(held[0])

    return run


def numpyro_run(case: Case) -> Run:
    from numpyro.infer import HMC
    from numpyro.infer.hmc import hmc

    del HMC
    init, sample = hmc(potential_fn=lambda x: -case.logdensity_fn(x), algo="HMC")
    options = {
        "step_size": case.step_size,
        "num_steps": LEAPFROG,
        "adapt_step_size": False,
        "adapt_mass_matrix": False,
        "num_warmup": 0,
    }
    keys = jax.random.split(jax.random.key(case.seed), len(case.positions))
    start = lambda key, x: init(x, rng_key=key, **options)
    state = jax.vmap(start)(keys, case.positions)

    @jax.jit
    def many(state):
        one = lambda state, _: (jax.vmap(sample)(state), None)
        return jax.lax.scan(one, state, length=case.num_steps)[0]

    held = [state]

    def run(calls: int) -> None:
        for _ in range(calls):
            held[0] = many(held[0])
        jax.block_until_ready(held[0])

    return run


def contestants(case: Case) -> dict[str, Callable[[], Run]]:
    """Those whose packages are installed and that have the kernel."""
    from importlib.util import find_spec

    found: dict[str, Callable[[], Run]] = {
        "genmix": lambda: genmix_run(case, "auto"),
        "genmix, chains first": lambda: genmix_run(case, "first"),
        "genmix, chains last": lambda: genmix_run(case, "last"),
    }
    if find_spec("blackjax"):
        found["BlackJAX"] = lambda: blackjax_run(case)
    if find_spec("tensorflow_probability"):
        found["TFP"] = lambda: tfp_run(case)
    if find_spec("numpyro") and case.kernel == "hmc":
        found["NumPyro"] = lambda: numpyro_run(case)
    return found


def time_case(config: Config, target: Target, kernel: Kernel, chains: int) -> list[dict[str, Any]]:
    logdensity_fn, dim = problem(target)
    positions = jax.random.normal(jax.random.key(config.seed), (chains, dim)) * 0.1
    num_steps = max(20, min(1000, 100_000 // chains))
    size = SIZES[target][kernel]
    case = Case(logdensity_fn, positions, kernel, size, num_steps, config.seed)
    runs, calls, set_up = {}, {}, {}
    for name, make in contestants(case).items():
        begin = time.perf_counter()
        run = make()
        run(1)
        set_up[name] = time.perf_counter() - begin
        begin = time.perf_counter()
        run(1)
        calls[name] = max(1, round(config.seconds / (time.perf_counter() - begin)))
        runs[name] = run
    seconds = interleave(runs, config.repeats, calls)
    return [
        {
            "target": target,
            "kernel": kernel,
            "chains": chains,
            "contestant": name,
            "transitions_per_second": num_steps * chains / statistics.median(values),
            "spread": (max(values) - min(values)) / statistics.median(values),
            "set_up_seconds": set_up[name],
        }
        for name, values in seconds.items()
    ]


def print_table(rows: list[dict[str, Any]]) -> None:
    title = "millions of transitions a second; ratio of genmix to the best peer"
    peers = list(dict.fromkeys(row["contestant"] for row in rows))
    table = Table("target", "kernel", "chains", *peers, "ratio", title=title)
    key = lambda row: (row["target"], row["kernel"], row["chains"])
    for (target, kernel, chains), group in itertools.groupby(rows, key):
        speeds = {row["contestant"]: row["transitions_per_second"] for row in group}
        best = max((v for n, v in speeds.items() if not n.startswith("genmix")), default=np.nan)
        cells = [f"{speeds[name] / 1e6:.3g}" if name in speeds else "" for name in peers]
        table.add_row(target, kernel, str(chains), *cells, f"{speeds['genmix'] / best:.2f}")
    Console().print(table)


def main(config: Config) -> None:
    rows = []
    for target, kernel, chains in itertools.product(config.targets, config.kernels, config.chains):
        rows += time_case(config, target, kernel, chains)
        print(f"{target}, {kernel}, {chains} chains: done", flush=True)
    print_table(rows)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    run_directory.write_json(
        config.out,
        {
            "rows": rows,
            "versions": run_directory.versions(),
            "git_commit": run_directory.git_commit(),
        },
    )
    print(f"written to {config.out}")


if __name__ == "__main__":
    command_line.run(main, Config)
