"""What networks change about themselves when called: dropout's keys, normalization statistics.

Modules are plain pytrees here, so a call that changes one changes a copy, and whoever wants the
change takes it from that copy.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Key

M = TypeVar("M")


def _is_variable(leaf: object) -> bool:
    return isinstance(leaf, nnx.Variable)


def map_variables(f: Callable[[str, nnx.Variable], nnx.Variable], module: M) -> M:
    """Copy of a module (or any pytree of modules) with f(path, variable) for each variable."""

    def leaf(path: tuple, value: object) -> object:
        if isinstance(value, nnx.Variable):
            return f(jax.tree_util.keystr(path, simple=True, separator="."), value)
        return value

    return jax.tree_util.tree_map_with_path(leaf, module, is_leaf=_is_variable)


def variables(module: object, kind: type[nnx.Variable]) -> dict[str, Array]:
    """Values of all variables of a kind, by dotted path."""
    leaves = jax.tree_util.tree_leaves_with_path(module, is_leaf=_is_variable)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf[...]
        for path, leaf in leaves
        if isinstance(leaf, kind)
    }


def out_of_reach(module: object) -> dict[str, str]:
    """Attributes that hold parameters which no pytree operation sees, by path, and their classes.

    A module keeps an object of a plain class as a constant, with all the networks in it.
    """
    found = {}
    for path, part in nnx.iter_graph(module):
        if isinstance(part, nnx.Module):
            for name, value in vars(part).items():
                if _is_plain(value) and variables(vars(value), nnx.Param):
                    found[".".join(map(str, (*path, name)))] = type(value).__name__
    return found


def _is_plain(value: object) -> bool:
    is_seen = isinstance(value, (nnx.Module, nnx.Variable)) or not jax.tree_util.all_leaves([value])
    return hasattr(value, "__dict__") and not is_seen


def num_parameters(module: object) -> int:
    """How many numbers are trained."""
    return sum(value.size for value in variables(module, nnx.Param).values())


def with_variables(module: M, values: dict[str, Array]) -> M:
    """Copy of a module with the values at the named paths replaced."""
    return map_variables(
        lambda path, v: v.replace(values[path]) if path in values else v.replace(v[...]), module
    )


def store(module: object, values: dict[str, Array]) -> None:
    """Put values into the module's own variables at the named paths."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(module, is_leaf=_is_variable):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if name in values:
            leaf[...] = values[name]


def fresh(module: M) -> M:
    """Copy whose variables may be changed without changing the original's."""
    return with_variables(module, {})


def batch_statistics(module: object) -> dict[str, Array]:
    """Values of the statistics that normalization layers keep, by dotted path."""
    return variables(module, nnx.BatchStat)


def reseeded(module: M, key: Key[Array, ""]) -> M:
    """Copy in which dropout and its like start from streams derived from `key`."""
    streams = sorted(variables(module, nnx.RngKey))
    keys = {path: jax.random.fold_in(key, i) for i, path in enumerate(streams)}
    counts = {path: jnp.zeros_like(c) for path, c in variables(module, nnx.RngCount).items()}
    return with_variables(module, keys | counts)


def is_stochastic(module: object) -> bool:
    """Whether a module has layers that draw random numbers when called."""
    return bool(variables(module, nnx.RngKey))


def evaluating(module: M) -> M:
    """Copy in evaluation mode: no dropout, stored normalization statistics."""
    copy = fresh(module)
    for _, part in nnx.iter_graph(copy):
        if isinstance(part, nnx.Module):
            part.eval()
    return copy
