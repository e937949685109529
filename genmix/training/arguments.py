"""What users hand to `fit` by mistake, refused in a sentence with the remedy."""

from typing import Any

import jax
import jax.numpy as jnp

from genmix.training.player import Player


def require_count(name: str, value: int | None) -> None:
    """Refuse a number of rounds, examples or elements below one; None is none given.

    Raises:
        ValueError: naming the argument.
    """
    if value is not None and value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}.")


def require(key: Any, players: Any, data: Any) -> None:
    """Refuse what is no key, no players or no data.

    Raises:
        TypeError: naming what came, and what to pass.
    """
    if isinstance(key, int):
        raise TypeError(f"key must be a key of jax.random, got {key}: pass jax.random.key({key}).")
    dtype = getattr(key, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jax.dtypes.prng_key):
        raise TypeError(
            f"key must be a typed key of jax.random, got {type(key).__name__}: pass one such as "
            "jax.random.key(0)."
        )
    if isinstance(players, Player):
        raise TypeError("players must be a list, got one Player: write [player].")
    if strangers := [p for p in players if not isinstance(p, Player)]:
        raise TypeError(
            f"players must be a list of Player, got a {type(strangers[0]).__name__} in it: wrap "
            "the loss, Player(loss=..., optimizer=...)."
        )
    if hasattr(data, "__next__"):
        raise TypeError(
            f"data is an iterator ({type(data).__name__}), in which a resumed run could not find "
            "its place: pass arrays, or a genmix.data.Stream."
        )
