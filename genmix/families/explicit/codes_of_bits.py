"""Codes by a density of their binary digits."""

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key, PyTree

from genmix.families import weigh
from genmix.families.roles import require_weighted


class CodesOfBits(nnx.Module):
    """p(k) = p(binary digits of k), for integers 0 .. num_codes - 1.

    What is a density of bits, as a restricted Boltzmann machine or MADE, is one of codes then, and
    no code is nearer to another than to any.

    Args:
        part: density or log-weight of a vector of zeros and ones, the digits of each code together.
        shape: of the codes.

    Raises:
        TypeError: if the part has no density.
        ValueError: if num_codes is no power of two.
    """

    def __init__(self, part: Any, shape: Sequence[int], num_codes: int):
        require_weighted(part, "density of bits")
        if num_codes < 2 or num_codes & (num_codes - 1):
            raise ValueError(
                f"CodesOfBits needs a power of two of codes, so that all digits are possible, got "
                f"num_codes {num_codes}."
            )
        self.part: Any = part
        self.shape, self.num_digits = tuple(shape), num_codes.bit_length() - 1

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.shape

    @property
    def num_bits(self) -> int:
        """Of an event."""
        return math.prod(self.shape) * self.num_digits

    def log_weight(
        self, key: Key[Array, ""], x: Int[Array, "..."], cond: PyTree = None
    ) -> Float[Array, ""]:
        """That of the bits, in nats; -inf where an entry is no code."""
        if x.shape != self.shape:
            raise ValueError(f"CodesOfBits expects one event of shape {self.shape}, got {x.shape}.")
        is_code = jnp.all((x >= 0) & (x < 2**self.num_digits))
        bits = (x.reshape(-1, 1) >> jnp.arange(self.num_digits)[None]) & 1
        value = weigh.log_weight(self.part, key, bits.reshape(-1).astype(float), cond)
        return jnp.where(is_code, value, -jnp.inf)

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Int[Array, "..."]:
        bits = self.part.sample(key, cond).reshape(-1, self.num_digits).astype(jnp.int32)
        return jnp.sum(bits << jnp.arange(self.num_digits)[None], axis=1).reshape(self.shape)
