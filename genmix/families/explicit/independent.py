"""Several parts, independent of each other, as one.

A capability is the presence of a method, so there is a class for parts that all have a density and
one for parts that only sample; `Independent` picks.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.capabilities import ExactDensity, Samples


class IndependentSampler(nnx.Module):
    """A product of parts some of which have no density."""

    def __init__(self, parts: Sequence[Any]):
        self.parts = nnx.List(list(parts))

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> tuple[PyTree, ...]:
        return _sample(self.parts, key, cond)


class IndependentDensity(nnx.Module):
    """A product of parts that all have a density."""

    def __init__(self, parts: Sequence[Any]):
        self.parts = nnx.List(list(parts))

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> tuple[PyTree, ...]:
        return _sample(self.parts, key, cond)

    def log_prob(self, x: tuple[PyTree, ...], cond: PyTree = None) -> Float[Array, ""]:
        """Sum of the parts' log-densities, in nats."""
        if len(x) != len(self.parts):
            raise ValueError(f"Independent has {len(self.parts)} parts, got {len(x)} events.")
        terms = [part.log_prob(y, cond) for y, part in zip(x, self.parts, strict=True)]
        return jnp.sum(jnp.stack(terms))


def Independent(parts: Sequence[Any]) -> Any:
    """p(x_1, ..., x_n | c) = product of p_i(x_i | c); an event is a tuple, one entry for each part.

    Such as a code of a class and a style, or the base of a generator: noise and a code. It has a
    `log_prob` if all parts have one.

    Raises:
        TypeError: if a part does not sample.
        ValueError: if there are none.
    """
    if not parts:
        raise ValueError("Independent needs at least one part, got none.")
    for part in parts:
        if not isinstance(part, Samples):
            raise TypeError(f"{type(part).__name__} cannot be one of several: has no sample.")
    has_density = all(isinstance(part, ExactDensity) for part in parts)
    return IndependentDensity(parts) if has_density else IndependentSampler(parts)


def _sample(parts: Sequence[Samples], key: Key[Array, ""], cond: PyTree) -> tuple[PyTree, ...]:
    keys = jax.random.split(key, len(parts))
    return tuple(part.sample(k, cond) for k, part in zip(keys, parts, strict=True))
