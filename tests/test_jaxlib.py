"""The arithmetic underneath."""

import jax
import jax.numpy as jnp


def test_vmapped_reductions_of_many_rows_are_right():
    """jaxlib 0.10.2 gets the last rows wrong on CPU (jax-ml/jax #39103): other versions are asked.

    If this fails, install the versions of constraints.txt.
    """
    rows = 32_769
    first = jnp.arange(rows, dtype=jnp.float32)
    x = jnp.stack([first, jnp.zeros(rows), jnp.zeros(rows)], axis=1)
    squares = jax.jit(jax.vmap(lambda row: jnp.sum((jnp.eye(3) @ row) ** 2)))(x)
    assert jnp.array_equal(squares, first**2)
