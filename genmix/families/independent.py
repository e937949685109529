"""Several parts, independent of each other, as one."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.capabilities import ExactDensity, Samples


class Independent(nnx.Module):
    """p(x_1, ..., x_n | c) = product of p_i(x_i | c); an event is a tuple, one entry for each part.

    Such as a code of a class and a style, or the base of a generator: noise and a code.

    Raises:
        TypeError: if a part does not sample.
        ValueError: if there are none.
    """

    def __init__(self, parts: Sequence[Any]):
        if not parts:
            raise ValueError("Independent needs at least one part, got none.")
        for part in parts:
            if not isinstance(part, Samples):
                raise TypeError(f"{type(part).__name__} cannot be one of several: has no sample.")
        self.parts = nnx.List(list(parts))

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> tuple[PyTree, ...]:
        keys = jax.random.split(key, len(self.parts))
        return tuple(part.sample(k, cond) for k, part in zip(keys, self.parts, strict=True))

    def log_prob(self, x: tuple[PyTree, ...], cond: PyTree = None) -> Float[Array, ""]:
        """Sum of the parts' log-densities, in nats.

        Raises:
            TypeError: if a part has none.
        """
        if len(x) != len(self.parts):
            raise ValueError(f"Independent has {len(self.parts)} parts, got {len(x)} events.")
        for part in self.parts:
            if not isinstance(part, ExactDensity):
                raise TypeError(f"{type(part).__name__} has no log_prob, so the product has none.")
        terms = [part.log_prob(y, cond) for y, part in zip(x, self.parts, strict=True)]
        return jnp.sum(jnp.stack(terms))
