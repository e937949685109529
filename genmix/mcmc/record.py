"""Frozen dataclasses as pytrees whose structures are equal only if their classes are."""

import dataclasses
from typing import Any, TypeVar

import jax
from jax.tree_util import GetAttrKey

T = TypeVar("T", bound=type)


def record(cls: T) -> T:
    """Make a frozen dataclass a pytree; fields with metadata {"static": True} are no children.

    `jax.tree_util.register_dataclass` would do, if structures of two classes with as many fields
    did not compare equal (jax 0.10): compiled for one kernel, a program would be run for
    another.
    """
    fields = dataclasses.fields(cls)
    static = [field.name for field in fields if field.metadata.get("static", False)]
    children = [field.name for field in fields if field.name not in static]

    def flatten(x: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return tuple(getattr(x, n) for n in children), tuple(getattr(x, n) for n in static)

    def flatten_with_keys(x: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        values, constants = flatten(x)
        keys = [GetAttrKey(name) for name in children]
        return tuple(zip(keys, values, strict=True)), constants

    def unflatten(constants: tuple[Any, ...], values: Any) -> Any:
        x = object.__new__(cls)  # no checks: the values may be anything that stands for arrays
        for name, value in (*zip(children, values, strict=True),
                            *zip(static, constants, strict=True)):  # fmt: skip
            object.__setattr__(x, name, value)
        return x

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls


def classes(structure: Any) -> tuple[Any, ...]:
    """The classes of all nodes of a structure: what tells those of two dataclasses apart."""
    data = structure.node_data()
    return (data and data[0], *map(classes, structure.children()))
