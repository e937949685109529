"""Bias, variance and signal-to-noise ratio of a gradient estimator, from many draws."""

from collections import ChainMap
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Float, Key, PyTree

from genmix.nets import state


class Moments(NamedTuple):
    """Of a gradient, from blocks of independent draws."""

    means: Any  # [blocks, parameters]
    variances: Any  # [blocks], each the sum of the parameters' variances


def by_group(
    f: Callable[[Any], Float[Array, ""]], model: Any, prefixes: Mapping[str, str]
) -> dict[str, Float[Array, " parameters"]]:
    """Gradient of a function of a model, one vector for each group of its parameters.

    Args:
        prefixes: {group: what the dotted paths of its parameters begin with}.

    Raises:
        ValueError: if a group has no parameters.
    """
    variables = state.variables(model, nnx.Param)
    groups = {
        group: {path: value for path, value in variables.items() if path.startswith(prefix)}
        for group, prefix in prefixes.items()
    }
    if empty := [prefixes[group] for group, own in groups.items() if not own]:
        raise ValueError(f"no parameter's path begins with {', '.join(empty)}.")

    def value(groups: dict[str, dict[str, Array]]) -> Float[Array, ""]:
        return f(state.with_variables(model, dict(ChainMap(*groups.values()))))

    return {group: ravel_pytree(g)[0] for group, g in jax.grad(value)(groups).items()}


def moments(
    key: Key[Array, ""],
    gradient: Callable[[Key[Array, ""]], PyTree],
    *,
    num_blocks: int,
    draws_per_block: int,
    draws_at_once: int,
) -> PyTree:
    """Moments of each vector that `gradient` gives, in bounded memory.

    Args:
        gradient: key -> pytree of vectors; what it computes for several of them from one key, and
            compiled together, is computed once.
        draws_at_once: gradients that are drawn together, by `vmap`; memory grows with it and with
            `draws_per_block`.

    Raises:
        ValueError: if there are fewer than two blocks, or two draws in each.
    """
    for name, value in (("num_blocks", num_blocks), ("draws_per_block", draws_per_block)):
        if value < 2:
            raise ValueError(f"{name} must be at least 2, got {value}.")

    def block(_: None, key: Array) -> tuple[None, PyTree]:
        keys = jax.random.split(key, draws_per_block)
        gradients = jax.lax.map(gradient, keys, batch_size=draws_at_once)
        summed = lambda g: Moments(jnp.mean(g, axis=0), jnp.sum(jnp.var(g, axis=0, ddof=1)))
        return None, jax.tree.map(summed, gradients)

    return jax.lax.scan(block, None, jax.random.split(key, num_blocks))[1]


def cross(a: Float[np.ndarray, "n dim"], b: Float[np.ndarray, "n dim"]) -> float:
    """Unbiased estimate of <E a, E b> from n independent pairs of rows: none meets its own."""
    n = len(a)
    return float((np.vdot(a.sum(0), b.sum(0)) - np.sum(a * b)) / (n * (n - 1)))


def _quality(drawn: Moments, reference: np.ndarray) -> dict[str, float]:
    off, squared_length = drawn.means - reference, cross(reference, reference)
    variance = float(np.mean(drawn.variances))
    signal = np.sqrt(max(cross(drawn.means, drawn.means), 0.0))
    return {
        "variance": variance,
        "snr": float(signal / np.sqrt(variance)),
        "bias": cross(off, reference) / squared_length,
        "squared_bias": cross(off, off) / squared_length,
    }


def quality(drawn: Moments, reference: Float[ArrayLike, "blocks parameters"]) -> dict[str, float]:
    """What is said of an estimator, each number with its `_standard_error`.

    - variance: summed over the parameters, in the square of the gradient's unit.
    - snr: length of the expected gradient over the root of that variance; 0 if the gradient cannot
      be told from nothing.
    - bias: its component along the true gradient, in lengths of that; unbiased but for a ratio.
    - squared_bias: squared length of the whole bias, in squared lengths of the true gradient; free
      of the noise in both gradients, so it may come out negative.

    Errors are those of the jackknife over blocks.

    Args:
        reference: the true gradient as blocks of independent unbiased draws, or repeated if it is
            exact; independent of `drawn`.

    Raises:
        ValueError: if the reference has another shape than the means.

    Source: Rainforth et al. (2018), arXiv:1802.04537, section 3, there parameter by parameter.
    """
    drawn = Moments(*(np.asarray(a, np.float64) for a in drawn))
    rows = np.asarray(reference, np.float64)
    if rows.shape != drawn.means.shape:
        raise ValueError(
            f"reference must have the shape of the means, {drawn.means.shape}, got {rows.shape}."
        )
    num_blocks = len(rows)
    kept = [np.arange(num_blocks) != i for i in range(num_blocks)]
    left_out = [_quality(Moments(drawn.means[i], drawn.variances[i]), rows[i]) for i in kept]
    values = _quality(drawn, rows)
    for name in list(values):
        spread = np.var([other[name] for other in left_out])
        values[f"{name}_standard_error"] = float(np.sqrt((num_blocks - 1) * spread))
    return values
