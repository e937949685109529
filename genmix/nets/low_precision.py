"""A network that computes in fewer bits than its parameters are kept in."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import DTypeLike, PyTree

from genmix.nets import state


class LowPrecision(nnx.Module):
    """Parameters and inputs rounded to bfloat16 for the network, its outputs back in float32.

    The parameters themselves, their gradients and the optimizer stay in float32, and so do the
    densities that take the outputs: sums over pixels and particles lose nothing.

    Args:
        network: any network without batch statistics.

    Raises:
        ValueError: if the network keeps batch statistics, which bfloat16 averages badly.

    Source: Micikevicius et al. (2018), arXiv:1710.03740, sections 3.1 and 3.3.
    """

    def __init__(self, network: Callable[..., Any], dtype: DTypeLike = jnp.bfloat16):
        if names := list(state.batch_statistics(network)):
            raise ValueError(
                f"LowPrecision takes no network with batch statistics, got {', '.join(names)}."
            )
        self.network = network
        self.dtype = jnp.dtype(dtype)

    def __call__(self, *inputs: PyTree) -> PyTree:
        network = state.map_variables(
            lambda _, v: v.replace(_cast(v[...], self.dtype)), self.network
        )
        outputs = network(*(_cast(x, self.dtype) for x in inputs))
        return _cast(outputs, jnp.float32)


def _cast(tree: PyTree, dtype: DTypeLike) -> PyTree:
    """Floating-point arrays in another type; keys and whole numbers as they are."""
    is_float = lambda a: jnp.issubdtype(jnp.result_type(a), jnp.floating)
    return jax.tree.map(lambda a: jnp.asarray(a, dtype) if is_float(a) else a, tree)
