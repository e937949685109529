"""Stored draws for ArviZ, which is needed here alone."""

from typing import Any

import jax
import numpy as np

from genmix.mcmc.runner import Draws


def from_draws(draws: Draws) -> Any:
    """ArviZ's data of posterior draws; each array of a position is a variable.

    A nested array is called by its path, as "a.b" for {"a": {"b": ...}}, and a position that is one
    array "x".

    Raises:
        ImportError: if arviz-base is not installed.
        ValueError: if two arrays have one name, or one has the name of an axis, such as "draw".
    """
    try:
        import arviz_base
    except ImportError as error:
        raise ImportError("the export needs ArviZ: pip install arviz-base.") from error
    leaves, _ = jax.tree_util.tree_flatten_with_path(draws.position)
    names = [_name(path) for path, _ in leaves]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(
            f"each array of a position needs a name of its own, got {sorted(twice)} twice: rename "
            "what nests in the position."
        )
    named = {name: np.asarray(leaf) for name, (_, leaf) in zip(names, leaves, strict=True)}
    data = arviz_base.from_dict({"posterior": named})
    axes = sorted(set(named) - set(data["posterior"].data_vars))
    if axes:
        raise ValueError(
            f"{axes} are names that ArviZ gives to axes of draws, not to arrays: rename them in "
            "the position."
        )
    return data


def _name(path: tuple[Any, ...]) -> str:
    # ArviZ keeps "/" for its own groups.
    return jax.tree_util.keystr(path, simple=True, separator=".").replace("/", ".") or "x"
