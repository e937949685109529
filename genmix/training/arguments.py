"""What users hand to `fit` by mistake, refused in a sentence with the remedy."""

import inspect
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
        ValueError: if there are several keys.
    """
    if isinstance(key, int):
        raise TypeError(f"key must be a key of jax.random, got {key}: pass jax.random.key({key}).")
    if not isinstance(key, jax.Array) or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        raise TypeError(
            f"key must be a typed key of jax.random, got {type(key).__name__}: pass one such as "
            "jax.random.key(0)."
        )
    if key.shape:
        raise ValueError(f"key must be one key, got an array of keys {key.shape}: pass key[0].")
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
    is_leaf = jax.tree_util.all_leaves([data]) and not hasattr(data, "shape")
    if is_leaf and hasattr(data, "__iter__") and not hasattr(data, "__getitem__"):
        raise TypeError(
            f"data is a {type(data).__name__}, which can only be gone through from its start: pass "
            "its examples as arrays, or its source to genmix.data.Stream(source, batch_size=..., "
            "seed=...)."
        )


def require_transform(transform: Any) -> None:
    """Refuse what is no function of a key and a batch; None is none.

    Raises:
        TypeError: saying what came.
    """
    if transform is None:
        return
    expectation = "transform must be a function (key, batch) -> batch"
    if not callable(transform):
        raise TypeError(f"{expectation}, got {transform!r}.")
    try:
        inspect.signature(transform).bind(None, None)
    except TypeError as error:
        raise TypeError(
            f"{expectation}; the one given does not take these two: one without chance is "
            "lambda key, batch: f(batch)."
        ) from error
    except ValueError:  # a builtin that does not say what it takes
        return
