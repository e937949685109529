"""How much of the real events is among the fake ones: what a collapsed generator lacks."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def coverage(
    real: Float[Array, "n entries"], fake: Float[Array, "m entries"], *, num_neighbours: int = 5
) -> Float[Array, ""]:
    """Share of real events with a fake one no further away than their k-th real neighbour.

    Neighbours at the same distance count as one. Of two samples of one distribution it is
    `expected`, about 1 - 2^-k for as many of both; of one fake event repeated it is near zero.

    Raises:
        ValueError: if there are not more real events than neighbours.

    Source: Naeem et al. (2020), arXiv:2002.09797, equation 8.
    """
    if not 1 <= num_neighbours < len(real):
        raise ValueError(
            f"num_neighbours must be between 1 and {len(real) - 1}, one less than the real events; "
            f"got {num_neighbours}."
        )
    among = _squared_distances(real, real) + jnp.diag(jnp.full(len(real), jnp.inf))
    for _ in range(num_neighbours - 1):  # a sort takes fifty times as long on CPU
        closest = jnp.min(among, axis=1, keepdims=True)
        among = jnp.where(among <= closest, jnp.inf, among)
    radius = jnp.min(among, axis=1)
    nearest = jnp.min(_squared_distances(real, fake), axis=1)
    return jnp.mean((nearest <= radius).astype(real.dtype))


def expected(num_real: int, num_fake: int, num_neighbours: int = 5) -> float:
    """The mean of `coverage` where both samples are of one distribution without atoms.

    A real event is missed if its k nearest among all others are real.
    """
    others, missed = num_real - 1 + num_fake, 1.0
    for i in range(num_neighbours):
        missed *= (num_real - 1 - i) / (others - i)
    return 1 - missed


def _squared_distances(
    a: Float[Array, "n entries"], b: Float[Array, "m entries"]
) -> Float[Array, "n m"]:
    squares = lambda x: jnp.sum(x**2, axis=1)
    return jnp.maximum(squares(a)[:, None] + squares(b)[None, :] - 2 * a @ b.T, 0)
