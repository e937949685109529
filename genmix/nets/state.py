"""What networks change about themselves when called: dropout's keys, normalization statistics.

Modules are plain pytrees here, so a call that changes one changes a copy, and whoever wants the
change takes it from that copy.
"""

import contextlib
import functools
import types
from collections.abc import Callable, Iterable, Iterator
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


def out_of_reach(module: object) -> dict[str, object]:
    """Attributes that hold parameters which no pytree operation sees, by path.

    A module keeps an object of a plain class as a constant, with all the networks in it, and so a
    function, with those that it closes over.
    """
    found = {}
    for path, part in nnx.iter_graph(module):
        if isinstance(part, nnx.Module):
            for name, value in vars(part).items():
                if any(variables(inner, nnx.Param) for inner in _hidden(value)):
                    found[".".join(map(str, (*path, name)))] = value
    return found


def _hidden(value: object, seen: tuple[object, ...] = ()) -> list[object]:
    """What an object holds besides what a pytree operation sees in it."""
    if any(value is other for other in seen):  # a function that calls itself
        return []
    if isinstance(value, functools.partial):
        inside = [value.func, *value.args, *value.keywords.values()]
    elif isinstance(value, types.MethodType):
        inside = [value.__self__]
    elif isinstance(value, types.FunctionType):
        inside = [*_contents(value.__closure__ or ()), *(value.__defaults__ or ())]
    elif hasattr(value, "__dict__") and not _is_seen(value):
        return [vars(value)]
    else:
        return []
    return [*inside, *(deep for part in inside for deep in _hidden(part, (*seen, value)))]


def _contents(cells: Iterable[types.CellType]) -> Iterator[object]:
    """Those of a function's variables that have been assigned."""
    for cell in cells:
        with contextlib.suppress(ValueError):
            yield cell.cell_contents


def _is_seen(value: object) -> bool:
    if isinstance(value, (nnx.Module, nnx.Variable, type)):
        return True
    return not jax.tree_util.all_leaves([value])


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
