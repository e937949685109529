"""Flows in the plane, several of one structure as one pytree."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from genmix import bijectors as bij
from genmix.families import StandardNormal, transformed
from genmix.nets import MADE, MLP


def stack(make: Callable[[nnx.Rngs], Any], count: int, seed: int) -> Any:
    """So many modules of one structure as one pytree, with a leading axis."""
    flows = [make(nnx.Rngs(seed + i)) for i in range(count)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *flows)


def elementary(name: str, num_layers: int, rngs: nnx.Rngs) -> Any:
    kind = bij.Planar if name == "planar" else bij.Radial
    layers = bij.repeated([kind(2, rngs=rngs) for _ in range(num_layers)])
    return transformed(StandardNormal(2), bij.chain([bij.Affine(2), layers]))


def density_bijector(name: str, rngs: nnx.Rngs) -> Any:
    """A bijector from z to x; the conditioners have two hidden layers of 64."""

    def coupling(transformer: Any) -> Any:
        size, relu = transformer.num_parameters, jax.nn.relu
        network = MLP(1, (64, 64), 1, num_outputs=size, activation=relu, rngs=rngs)
        return bij.coupling_layer(network, transformer, split=1)

    def made(transformer: Any) -> Any:
        return MADE(2, (64, 64), transformer.num_parameters, rngs=rngs)

    spline, sigmoids = bij.RationalQuadratic(num_bins=16, bound=3.0), bij.DeepSigmoid(num_units=16)
    turned = lambda part: bij.inverse(bij.chain([part, bij.Affine(2)]))
    makers: dict[str, tuple[int, Callable[[], list[Any]]]] = {
        "nice": (8, lambda: [coupling(bij.Shift()), bij.Reverse()]),
        "realnvp": (8, lambda: [coupling(bij.ShiftScale()), bij.Reverse()]),
        "glow": (
            8,
            lambda: [
                coupling(bij.ShiftScale()),
                bij.InvertibleConvolution(2, rngs=rngs),
                bij.ActNorm(2),
            ],
        ),
        "maf": (
            8,
            lambda: [
                bij.masked_autoregressive(made(bij.ShiftScale()), bij.ShiftScale()),
                bij.Reverse(),
            ],
        ),
        "spline": (4, lambda: [coupling(spline), bij.Reverse()]),
        "spline-maf": (
            2,
            lambda: [bij.masked_autoregressive(made(spline), spline), bij.Reverse()],
        ),
        "naf": (
            2,
            lambda: [
                bij.inverse(bij.inverse_autoregressive(made(sigmoids), sigmoids)),
                bij.Reverse(),
            ],
        ),
        "planar": (32, lambda: [turned(bij.Planar(2, rngs=rngs))]),
        "sylvester": (16, lambda: [turned(bij.HouseholderSylvester(2, 1, rngs=rngs))]),
    }
    num_layers, parts = makers[name]
    layers = bij.repeated([bij.chain(parts()) for _ in range(num_layers)])
    return bij.chain([layers, bij.ActNorm(2)])


def member(flows: Any, i: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[i], flows)


@jax.jit
def drawn(keys: jax.Array, flow: Any) -> tuple[jax.Array, jax.Array]:
    return jax.vmap(flow.sample_and_log_prob)(keys)


@jax.jit
def log_probs(flow: Any, x: jax.Array) -> jax.Array:
    return jax.lax.map(flow.log_prob, x, batch_size=4096)
