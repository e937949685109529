"""Flows of other libraries, as each documents them, and what is timed of a flow."""

import functools
import itertools
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

DIM, HIDDEN, BINS, BOUND = 64, (128, 128), 8, 3.0


class Programs(NamedTuple):
    """What is timed: functions of nothing that wait for their result.

    The gradient is that of the mean log-density of data with respect to the parameters; of `iaf`,
    which is for posteriors, that of the reverse KL to a standard normal.
    """

    log_prob: Callable[[], Any]
    sample: Callable[[], Any]
    gradient: Callable[[], Any]
    compile_seconds: float = math.nan  # of the gradient


def points(batch_size: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(batch_size, DIM)).astype(np.float32)


def reverse_kl(z: Any, log_q: Any) -> Any:
    return (log_q + 0.5 * (z**2).sum(-1)).mean()


def jax_programs(
    flow: Any,
    log_prob: Callable[[Any, jax.Array], jax.Array],
    sample_and_log_prob: Callable[[Any, jax.Array], tuple[jax.Array, jax.Array]],
    model: str,
    batch_size: int,
) -> Programs:
    """Compiled programs of a pytree of parameters and its batched functions."""
    x, key = jnp.asarray(points(batch_size)), jax.random.key(0)
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


def distrax_programs(model: str, num_layers: int, batch_size: int) -> Programs:
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

    draw = lambda p, key: flow(p).sample_and_log_prob(seed=key, sample_shape=batch_size)
    return jax_programs(parameters, lambda p, x: flow(p).log_prob(x), draw, model, batch_size)


def flowjax_programs(model: str, num_layers: int, batch_size: int) -> Programs:
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
    draw = lambda arrays, key: whole(arrays).sample_and_log_prob(key, (batch_size,))
    return jax_programs(arrays, lambda a, x: whole(a).log_prob(x), draw, model, batch_size)


def torch_programs(
    flow: Any,
    log_prob: Callable[[Any], Any],
    sample: Callable[[int], Any],
    sample_and_log_prob: Callable[[int], tuple[Any, Any]],
    model: str,
    batch_size: int,
) -> Programs:
    import torch

    x = torch.from_numpy(points(batch_size))
    parameters = [p for p in flow.parameters() if p.requires_grad]

    def gradient() -> Any:
        if model == "iaf":
            loss = reverse_kl(*sample_and_log_prob(batch_size))
        else:
            loss = -log_prob(x).mean()
        return torch.autograd.grad(loss, parameters, allow_unused=True)

    def quiet(f: Callable[..., Any], *args: Any) -> Any:
        with torch.no_grad():
            return f(*args)

    return Programs(lambda: quiet(log_prob, x), lambda: quiet(sample, batch_size), gradient)


def nflows_programs(model: str, num_layers: int, batch_size: int) -> Programs:
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
    return torch_programs(
        flow, flow.log_prob, flow.sample, flow.sample_and_log_prob, model, batch_size
    )


def zuko_programs(model: str, num_layers: int, batch_size: int) -> Programs:
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
        batch_size,
    )
