"""Continuous flows trained without solving their differential equation."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from genmix import sharding
from genmix.capabilities import sample
from genmix.families.continuous_flow import ContinuousFlow
from genmix.families.diffusion.diffusion import antithetic_times
from genmix.objectives.term import Term


def flow_matching(*, name: str = "flow_matching", is_conditional: bool = False) -> Term:
    """E |field((1 - t) z + t x, t) - (x - z)|^2 with z of the base: straight paths to the data.

    Its minimum is not zero: the field can be no more than the mean of x - z given where they cross.
    It bounds no likelihood; the trained flow has one. Times are spread evenly over a batch.

    Args:
        name: of the error among the metrics, a sum over the entries of an event.
        is_conditional: batches are pairs (x, cond).

    Source: Lipman et al. (2023), arXiv:2210.02747, equation 23 with sigma_min = 0; Liu, Gong & Liu
    (2023), arXiv:2209.03003.
    """

    def error(model: Any, key: Key[Array, ""], t: Array, x: Any, cond: PyTree) -> Float[Array, ""]:
        z = sample(model.base, key, cond)
        if z.shape != x.shape:
            raise ValueError(f"x must have the base's shape {z.shape}, got {x.shape}.")
        return jnp.sum((model.field((1 - t) * z + t * x, t, cond) - (x - z)) ** 2)

    def loss(model, key, batch, carry):
        x, cond = batch if is_conditional else (batch, None)
        size = jax.tree.leaves(x)[0].shape[0]
        time_key, key = jax.random.split(key)
        each = jax.vmap(
            lambda key, t, x, cond: error(model, key, t, x, cond),
            spmd_axis_name=sharding.spmd_axis("data"),
        )
        errors = each(jax.random.split(key, size), antithetic_times(time_key, size), x, cond)
        return jnp.mean(errors), ({name: jnp.mean(errors)}, carry)

    def init(model):
        if not isinstance(model, ContinuousFlow):
            raise TypeError(
                f"{type(model).__name__} has no field to match: flow_matching is for a "
                "ContinuousFlow."
            )
        return ()

    return Term(loss, init)
