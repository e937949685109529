"""Which examples make up each batch: a pure function of the key and the position."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key


def indices(
    key: Key[Array, ""], first: Int[Array, ""], num_batches: int, batch_size: int, num_examples: int
) -> Int[Array, "batches batch"]:
    """Indices of `num_batches` consecutive batches, the first of them being batch number `first`.

    Every epoch is a new permutation of the examples, each used exactly once; a batch may begin in
    one epoch and end in the next.

    Raises:
        ValueError: if a batch is larger than the data set.
    """
    if not 1 <= batch_size <= num_examples:
        raise ValueError(
            f"batch_size must be between 1 and the number of examples, {num_examples}; "
            f"got {batch_size}."
        )
    # Epoch and place in it are kept apart: the product first * batch_size would overflow int32.
    epoch, place = _position(first, batch_size, num_examples)
    num_drawn = num_batches * batch_size
    num_epochs = math.ceil((num_drawn - 1) / num_examples) + 1

    def order_of(e: Int[Array, ""]) -> Int[Array, " examples"]:
        shuffle = lambda: jax.random.permutation(
            jax.random.fold_in(key, epoch + e), jnp.arange(num_examples, dtype=jnp.int32)
        )
        # Sorting is slow, and the last epoch is seldom reached within one call.
        is_reached = e * num_examples < place + num_drawn
        return jax.lax.cond(is_reached, shuffle, lambda: jnp.zeros(num_examples, jnp.int32))

    order = jax.lax.map(order_of, jnp.arange(num_epochs)).reshape(-1)
    return jax.lax.dynamic_slice(order, (place,), (num_drawn,)).reshape(num_batches, batch_size)


def _position(
    batch: Int[Array, ""], batch_size: int, num_examples: int
) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """Epoch, and place in it, of the first example of a batch."""
    common = math.gcd(batch_size, num_examples)
    cycle = num_examples // common  # batches after which batch and epoch begin together again
    epochs_per_cycle = batch_size // common
    within = (batch % cycle) * batch_size
    return (batch // cycle) * epochs_per_cycle + within // num_examples, within % num_examples
