"""Weights divided by their largest singular value, which bounds a network's slope."""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from genmix.nets import state

M = TypeVar("M", bound=nnx.Module)


class SpectralNorm(nnx.Module):
    """A layer whose weights, as a matrix [all inputs, outputs], have spectral norm 1.

    The largest singular value is estimated by one step of power iteration a call, from the vector
    that the call before left. That vector is a batch statistic: it is kept with the model, and
    `eval` leaves it as it is. For a convolution the value is that of the reshaped kernel, which
    bounds the layer's slope only up to the number of windows that overlap.

    Args:
        layer: linear or convolutional, with its outputs along the last axis of `kernel`.

    Raises:
        TypeError: if the layer has no kernel.
    Source: Miyato et al. (2018), arXiv:1802.05957, algorithm 1.
    """

    def __init__(self, layer: Any, *, rngs: nnx.Rngs):
        if not _has_kernel(layer):
            raise TypeError(
                f"SpectralNorm needs a layer with a kernel, got {type(layer).__name__}."
            )
        self.layer = layer
        direction = jax.random.normal(rngs.params(), layer.kernel.shape[-1:])
        self.direction = nnx.BatchStat(_normalized(direction))
        self.use_running_average = False  # `eval` sets it

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        kernel = self.layer.kernel[...]
        matrix = kernel.reshape(-1, kernel.shape[-1])
        frozen = jax.lax.stop_gradient(matrix)
        left = _normalized(frozen @ self.direction[...])
        right = _normalized(left @ frozen)
        if not self.use_running_average:
            self.direction[...] = right
        norm = left @ matrix @ right
        norm = jnp.where(norm > 0, norm, 1.0)  # of a kernel of zeros
        return state.with_variables(self.layer, {"kernel": kernel / norm})(x)


def spectrally_normalized(network: M, *, rngs: nnx.Rngs) -> M:
    """Copy of a network in which every layer with a kernel has a `SpectralNorm` around it.

    Raises:
        ValueError: if there is no such layer.
    """
    copy, found = state.fresh(network), False
    for _, module in list(nnx.iter_graph(copy)):
        if not isinstance(module, nnx.Module):
            continue
        for name, child in list(vars(module).items()):
            if _has_kernel(child):
                setattr(module, name, SpectralNorm(child, rngs=rngs))
                found = True
    if not found:
        raise ValueError(f"{type(network).__name__} has no layers with a kernel to normalize.")
    return copy


def _has_kernel(layer: object) -> bool:
    return isinstance(getattr(layer, "kernel", None), nnx.Param)


def _normalized(v: Float[Array, " n"]) -> Float[Array, " n"]:
    return v / jnp.maximum(jnp.linalg.norm(v), 1e-12)
