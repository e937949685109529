"""A model of steps as a model of whole sequences: the weights of its steps, multiplied."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.bounds.log_weight import Draw, Terms
from genmix.capabilities import Generates, require_sequential
from genmix.families import weigh
from genmix.families.sequence import padded


class Unrolled(nnx.Module):
    """p(x_1..x_T) by one path of hidden z_1..z_T, drawn step after step.

    Its expected log-weight is the ELBO of the whole sequence, the mean of k weights its
    importance-weighted bound. x is an array with the steps along the first axis, or `Padded`.

    Raises:
        TypeError: if the model is not sequential.
    """

    def __init__(self, model: Any):
        require_sequential(model)
        self.model = model

    def log_weight_terms(
        self, key: Key[Array, ""], x: PyTree, cond: PyTree = None, draw: Draw = weigh.draw
    ) -> Terms:
        """Terms of the log-weight, each summed over the steps, in nats."""
        x = padded.one(x)
        mask = x.mask()
        start, inputs = self.model.start(x, cond)

        def visit(carry: PyTree, step: tuple) -> tuple[PyTree, Terms]:
            t, inputs, is_data = step
            new, _, terms = self.model.step(jax.random.fold_in(key, t), carry, inputs, draw)
            keep = lambda a, b: jnp.where(is_data, a, b)
            return jax.tree.map(keep, new, carry), jax.tree.map(lambda a: keep(a, 0.0), terms)

        _, terms = jax.lax.scan(visit, start, (jnp.arange(mask.size), inputs, mask))
        return jax.tree.map(padded.total, terms)

    def log_weight(self, key: Key[Array, ""], x: PyTree, cond: PyTree = None) -> Float[Array, ""]:
        """Log of an unbiased estimate of p(x | cond), in nats; its expectation is the ELBO."""
        return self.log_weight_terms(key, x, cond).log_weight


def generate(model: Any, key: Key[Array, ""], num_steps: int, cond: PyTree = None) -> PyTree:
    """Draw a sequence of num_steps from a model of steps.

    Raises:
        TypeError: if the model cannot draw.
        ValueError: if num_steps < 1.
    """
    if not isinstance(model, Generates):
        raise TypeError(f"{type(model).__name__} cannot draw: it lacks begin(cond) or generate.")
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}.")
    step = lambda carry, t: model.generate(jax.random.fold_in(key, t), carry)
    return jax.lax.scan(step, model.begin(cond), jnp.arange(num_steps))[1]
