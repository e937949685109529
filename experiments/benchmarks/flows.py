"""Speed of flows beside peers: python -m experiments.benchmarks.flows.

The same layers and widths in every library: densities, draws, gradients, and what compiling takes.
"""

import dataclasses
import functools
import itertools
import math
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import rich.box
from flax import nnx
from rich.console import Console
from rich.table import Table

from genmix import bijectors as bij
from genmix import command_line
from genmix.families import StandardNormal, transformed
from genmix.nets import MADE, MLP
from genmix.training import run_directory

DIM, HIDDEN, BINS, BOUND = 64, (128, 128), 8, 3.0
Model = Literal["maf", "iaf", "realnvp", "spline"]
LAYERS = {"maf": 5, "iaf": 5, "realnvp": 8, "spline": 4}
CELLS = ("log_prob", "sample", "gradient")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Contestants that are not installed are named as missing."""

    model: tuple[Model, ...] = ("maf", "iaf", "realnvp", "spline")
    batch_size: int = 1024
    repeats: int = 7
    """Interleaved measurements of each contestant."""
    seconds: float = 0.5
    """Length of one measurement, about."""
    compilation: bool = True
    """Time what compiling takes, too."""
    few: int = 4
    many: int = 32
    """Layers of the flows whose compilation is timed."""
    threads: int = 2
    """Threads of PyTorch."""
    out: Path = Path("runs/benchmarks/flows.json")

    def __post_init__(self):
        for name in ("batch_size", "repeats", "few", "many", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")


class Programs(NamedTuple):
    """What is timed: functions of nothing that wait for their result.

    The gradient is that of the mean log-density of data with respect to the parameters; of `iaf`,
    which is for posteriors, that of the reverse KL to a standard normal.
    """

    log_prob: Callable[[], Any]
    sample: Callable[[], Any]
    gradient: Callable[[], Any]
    compile_seconds: float = math.nan  # of the gradient


def points(config: Config) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(config.batch_size, DIM)).astype(np.float32)


def reverse_kl(z: Any, log_q: Any) -> Any:
    return (log_q + 0.5 * (z**2).sum(-1)).mean()


def jax_programs(
    flow: Any,
    log_prob: Callable[[Any, jax.Array], jax.Array],
    sample_and_log_prob: Callable[[Any, jax.Array], tuple[jax.Array, jax.Array]],
    model: str,
    config: Config,
) -> Programs:
    """Compiled programs of a pytree of parameters and its batched functions."""
    x, key = jnp.asarray(points(config)), jax.random.key(0)
    # Handed over as a list: flattening a module is no part of the flow.
    leaves, structure = jax.tree.flatten(flow)

    whole = lambda leaves: jax.tree.unflatten(structure, leaves)

    def loss(leaves, x, key):
        flow = whole(leaves)
        if model == "iaf":
            return reverse_kl(*sample_and_log_prob(flow, key))
        return -jnp.mean(log_prob(flow, x))

    begin = time.perf_counter()
    gradient = jax.jit(jax.grad(loss)).lower(leaves, x, key).compile()
    seconds = time.perf_counter() - begin
    density = jax.jit(lambda leaves, x: log_prob(whole(leaves), x))
    draw = jax.jit(lambda leaves, key: sample_and_log_prob(whole(leaves), key)[0])
    wait = jax.block_until_ready
    return Programs(
        lambda: wait(density(leaves, x)),
        lambda: wait(draw(leaves, key)),
        lambda: wait(gradient(leaves, x, key)),
        seconds,
    )


def genmix_flow(model: str, num_layers: int) -> Any:
    rngs = nnx.Rngs(0)
    half = DIM // 2
    transformer = bij.ShiftScale()
    if model == "spline":
        transformer = bij.RationalQuadratic(num_bins=BINS, bound=BOUND)
    size = transformer.num_parameters

    def coupling() -> Any:
        network = MLP(half, HIDDEN, half, num_outputs=size, activation=jax.nn.relu, rngs=rngs)
        exchange = bij.Permutation((*range(half, DIM), *range(half)))
        return bij.chain([bij.coupling_layer(network, transformer, split=half), exchange])

    def masked(order: Sequence[int]) -> Any:
        made = MADE(DIM, HIDDEN, size, order=order, rngs=rngs)
        # As large as the peers' weights: near the identity an inverse would be found at once.
        made.out.kernel[...] = 10 * made.out.kernel[...]
        direction = bij.masked_autoregressive
        return (bij.inverse_autoregressive if model == "iaf" else direction)(made, transformer)

    if model in ("realnvp", "spline"):
        bijector = bij.repeated([coupling() for _ in range(num_layers)])
    else:
        # Every other network has the entries backwards, so that no layer needs to reverse them.
        layers = [masked(range(DIM)[:: (1, -1)[i % 2]]) for i in range(num_layers)]
        pairs = [bij.chain(layers[i : i + 2]) for i in range(0, num_layers, 2)]
        bijector = bij.chain(layers) if num_layers % 2 else bij.repeated(pairs)
    return transformed(StandardNormal(DIM), bijector)


def genmix_programs(model: str, num_layers: int, config: Config) -> Programs:
    keys = lambda key: jax.random.split(key, config.batch_size)
    return jax_programs(
        genmix_flow(model, num_layers),
        lambda flow, x: jax.vmap(flow.log_prob)(x),
        lambda flow, key: jax.vmap(flow.sample_and_log_prob)(keys(key)),
        model,
        config,
    )


def distrax_programs(model: str, num_layers: int, config: Config) -> Programs:
    """Split couplings, in turn of the one half and the other; distrax has no masked networks."""
    import distrax

    size = {"realnvp": 2, "spline": 3 * BINS + 1}[model]
    half, glorot = DIM // 2, jax.nn.initializers.glorot_uniform()
    widths = [half, *HIDDEN, half * size]
    keys = iter(jax.random.split(jax.random.key(0), num_layers * 3))
    dense = lambda a, b: (glorot(next(keys), (a, b)), jnp.zeros(b))
    shapes = list(itertools.pairwise(widths))
    parameters = [[dense(a, b) for a, b in shapes] for _ in range(num_layers)]

    def conditioner(layers: Any, x: Any) -> jax.Array:
        for weight, bias in layers[:-1]:
            x = jax.nn.relu(x @ weight + bias)
        weight, bias = layers[-1]
        return (x @ weight + bias).reshape(*x.shape[:-1], half, size)

    def inner(p: jax.Array) -> Any:
        if model == "realnvp":
            scale = 1e-3 + jax.nn.softplus(p[..., 1] + 0.54)
            return distrax.ScalarAffine(p[..., 0], scale)
        return distrax.RationalQuadraticSpline(p, -BOUND, BOUND, boundary_slopes="identity")

    def flow(parameters: Any) -> Any:
        layers = [
            distrax.SplitCoupling(
                half, 1, functools.partial(conditioner, p), inner, swap=i % 2 == 1
            )
            for i, p in enumerate(parameters)
        ]
        base = distrax.MultivariateNormalDiag(jnp.zeros(DIM), jnp.ones(DIM))
        return distrax.Transformed(base, distrax.Chain(layers))

    draw = lambda p, key: flow(p).sample_and_log_prob(seed=key, sample_shape=config.batch_size)
    return jax_programs(parameters, lambda p, x: flow(p).log_prob(x), draw, model, config)


def flowjax_programs(model: str, num_layers: int, config: Config) -> Programs:
    import equinox
    from flowjax import bijections, distributions, flows

    make = flows.coupling_flow if model in ("realnvp", "spline") else None
    make = make or flows.masked_autoregressive_flow
    spline = bijections.RationalQuadraticSpline(knots=BINS, interval=BOUND)
    flow = make(
        jax.random.key(0),
        base_dist=distributions.Normal(jnp.zeros(DIM)),
        transformer=spline if model == "spline" else None,
        flow_layers=num_layers,
        nn_width=HIDDEN[0],
        nn_depth=len(HIDDEN),
        invert=model != "iaf",
    )
    arrays, static = equinox.partition(flow, equinox.is_inexact_array)
    whole = lambda arrays: equinox.combine(arrays, static)
    draw = lambda arrays, key: whole(arrays).sample_and_log_prob(key, (config.batch_size,))
    return jax_programs(arrays, lambda a, x: whole(a).log_prob(x), draw, model, config)


def torch_programs(
    flow: Any,
    log_prob: Callable[[Any], Any],
    sample: Callable[[int], Any],
    sample_and_log_prob: Callable[[int], tuple[Any, Any]],
    model: str,
    config: Config,
) -> Programs:
    import torch

    x = torch.from_numpy(points(config))
    parameters = [p for p in flow.parameters() if p.requires_grad]

    def gradient() -> Any:
        if model == "iaf":
            loss = reverse_kl(*sample_and_log_prob(config.batch_size))
        else:
            loss = -log_prob(x).mean()
        return torch.autograd.grad(loss, parameters, allow_unused=True)

    def quiet(f: Callable[..., Any], *args: Any) -> Any:
        with torch.no_grad():
            return f(*args)

    return Programs(lambda: quiet(log_prob, x), lambda: quiet(sample, config.batch_size), gradient)


def nflows_programs(model: str, num_layers: int, config: Config) -> Programs:
    import torch
    from nflows import distributions, flows, transforms
    from nflows.nn import nets

    mask = torch.ones(DIM)
    mask[: DIM // 2] = -1

    class Network(nets.MLP):
        def forward(self, inputs, context=None):  # couplings hand over a context, here none
            return super().forward(inputs)

    network = lambda a, b: Network((a,), (b,), HIDDEN)

    def layer() -> Any:
        match model:
            case "realnvp":
                return transforms.AffineCouplingTransform(mask, network)
            case "spline":
                return transforms.PiecewiseRationalQuadraticCouplingTransform(
                    mask, network, num_bins=BINS, tails="linear", tail_bound=BOUND
                )
        made = transforms.MaskedAffineAutoregressiveTransform(
            DIM, HIDDEN[0], num_blocks=1, use_residual_blocks=False
        )
        return transforms.InverseTransform(made) if model == "iaf" else made

    parts = []
    for _ in range(num_layers):
        parts += [layer(), transforms.ReversePermutation(DIM)]
    transform = transforms.CompositeTransform(parts)
    flow = flows.Flow(transform, distributions.StandardNormal([DIM]))
    return torch_programs(flow, flow.log_prob, flow.sample, flow.sample_and_log_prob, model, config)


def zuko_programs(model: str, num_layers: int, config: Config) -> Programs:
    import zuko

    options: dict[str, Any] = {"transforms": num_layers, "hidden_features": HIDDEN}
    if model == "spline":
        options["univariate"] = functools.partial(
            zuko.transforms.MonotonicRQSTransform, bound=BOUND
        )
        options["shapes"] = ((BINS,), (BINS,), (BINS - 1,))
    make = zuko.flows.NICE if model in ("realnvp", "spline") else zuko.flows.MAF
    flow = make(DIM, **options)
    if model == "iaf":
        flow.transform = flow.transform.inv
    return torch_programs(
        flow,
        lambda x: flow().log_prob(x),
        lambda n: flow().sample((n,)),
        lambda n: flow().rsample_and_log_prob((n,)),
        model,
        config,
    )


Maker = Callable[[str, int, Config], Programs]
CONTESTANTS: dict[str, Maker] = {
    "genmix": genmix_programs,
    "distrax": distrax_programs,
    "FlowJAX": flowjax_programs,
    "nflows": nflows_programs,
    "zuko": zuko_programs,
}
IN_JAX = ("genmix", "distrax", "FlowJAX")


def has(name: str, model: str) -> bool:
    return name != "distrax" or model in ("realnvp", "spline")


def missing() -> list[str]:
    """Peers whose packages are not installed."""
    return [name for name in CONTESTANTS if not find_spec(name.lower())]


def interleaved(programs: dict[str, Callable[[], Any]], config: Config) -> dict[str, list[float]]:
    """Seconds a call of each contestant, measured in turn so that all see the same machine.

    Every other time the turn goes backwards: the first would else always follow PyTorch's threads.
    """
    calls, seconds = {}, {name: [] for name in programs}
    for name, run in programs.items():
        run()  # compiles
        begin = time.perf_counter()
        run()
        calls[name] = max(1, round(config.seconds / (time.perf_counter() - begin)))
    for repeat in range(config.repeats):
        for name, run in list(programs.items())[:: (1, -1)[repeat % 2]]:
            if repeat >= 3 and seconds[name][0] > 2:
                continue  # three times are enough of what takes seconds
            run()  # the contestant before may have left its threads waiting
            begin = time.perf_counter()
            for _ in range(calls[name]):
                run()
            seconds[name].append((time.perf_counter() - begin) / calls[name])
    return seconds


def time_model(config: Config, model: str, absent: list[str]) -> list[dict[str, Any]]:
    names = [name for name in CONTESTANTS if has(name, model) and name not in absent]
    programs = {name: CONTESTANTS[name](model, LAYERS[model], config) for name in names}
    rows = []
    for cell in CELLS:
        seconds = interleaved({name: getattr(programs[name], cell) for name in names}, config)
        for name, values in seconds.items():
            median = statistics.median(values)
            spread = (max(values) - min(values)) / median
            row = {"model": model, "cell": cell, "contestant": name}
            rows.append({**row, "milliseconds": 1e3 * median, "spread": spread})
    return rows


def time_compilation(config: Config, model: str, absent: list[str]) -> list[dict[str, Any]]:
    """Of the gradient, of few layers and of many, once each in a process that is warm."""
    rows = []
    for name in IN_JAX:
        if name in absent or not has(name, model):
            continue
        for count in (config.few, config.many):
            seconds = CONTESTANTS[name](model, count, config).compile_seconds
            row = {"model": model, "contestant": name, "layers": count}
            rows.append({**row, "seconds": seconds})
    return rows


def print_times(config: Config, rows: list[dict[str, Any]], absent: list[str]) -> None:
    note = f"; not installed: {', '.join(absent)}" if absent else ""
    title = f"milliseconds, batch {config.batch_size}, {DIM} dimensions{note}"
    table = Table(title=title, box=rich.box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("model", "layers", "", *CONTESTANTS, "genmix is"):
        table.add_column(name, justify="left" if name in ("model", "") else "right")
    for model in dict.fromkeys(row["model"] for row in rows):
        for cell in CELLS:
            found = {
                row["contestant"]: row
                for row in rows
                if (row["model"], row["cell"]) == (model, cell)
            }
            times = [f"{found[n]['milliseconds']:.2f}" if n in found else "" for n in CONTESTANTS]
            peers = [row["milliseconds"] for name, row in found.items() if name != "genmix"]
            ratio = f"{min(peers) / found['genmix']['milliseconds']:.2f} x" if peers else ""
            table.add_row(model, str(LAYERS[model]), cell, *times, ratio)
        table.add_section()
    Console().print(table)


def print_compilation(config: Config, rows: list[dict[str, Any]]) -> None:
    table = Table(title="seconds to trace and compile the gradient")
    few, many = f"{config.few} layers", f"{config.many} layers"
    for name in ("model", "contestant", few, many, "ratio"):
        table.add_column(name, justify="left" if name in ("model", "contestant") else "right")
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        a, b = first["seconds"], second["seconds"]
        table.add_row(first["model"], first["contestant"], f"{a:.2f}", f"{b:.2f}", f"{b / a:.2f}")
    Console().print(table)


def main(config: Config) -> None:
    absent = missing()
    if find_spec("torch"):
        import torch

        torch.set_num_threads(config.threads)
    times = [row for model in config.model for row in time_model(config, model, absent)]
    print_times(config, times, absent)
    compilation = []
    for model in config.model if config.compilation else ():
        compilation += time_compilation(config, model, absent)
    print_compilation(config, compilation)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    run_directory.write_json(
        config.out,
        {
            "times": times,
            "compilation": compilation,
            "missing": absent,
            "versions": run_directory.versions(),
            "git_commit": run_directory.git_commit(),
        },
    )
    print(f"written to {config.out}")


if __name__ == "__main__":
    command_line.run(main, Config)
