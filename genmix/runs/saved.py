"""A part kept in one file, and built again from it in a process that knows only the path.

The file is an NPZ archive: first the expression that holds the arrays, as JSON, then the arrays.
Each module stands there as the name of its class and its attributes, functions by their names.
Nothing in it is run: names are looked up in packages that the reader trusts, and there is no
pickle. A module that stands in two places (as the encoder of a VampPrior does) is one afterwards.
"""

import dataclasses
import functools
import importlib
import io
import json
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.nnx.pytreelib import PytreeState
from flax.typing import HashableMapping

from genmix.nets.outputs import Redraw
from genmix.runs.run_directory import read_bytes, write_bytes

TRUSTED = (
    *(f"genmix.{package}" for package in ("bijectors", "bounds", "densities", "families", "mcmc")),
    *("genmix.nets", "flax.nnx", "jax.nn", "jax.numpy", "jax.lax", "jax.scipy"),
)
"""Packages whose classes and functions may stand in a file."""
_FORMAT = 1
_STATE, _NODES = "_pytree__state", "_pytree__nodes"  # of flax's modules
_UNREADABLE = (
    *(ValueError, KeyError, TypeError, AttributeError, IndexError, EOFError, RecursionError),
    *(zipfile.BadZipFile, ImportError, NotImplementedError),
)
_SCALARS = (bool, int, float, str, type(None))
_SEQUENCES = {tuple: "tuple", list: "list", set: "set", frozenset: "frozenset"}


def save(part: object, path: str | Path) -> None:
    """Keep a part in a file: its arrays, and the expression that built it.

    At any moment the file is the old one or the whole new one.

    Args:
        path: of the file; it gets no suffix of its own.

    Raises:
        TypeError: if the part holds what has no name that another process could look up, such as
            a lambda or a class defined in a function; it says where.
        OSError: if the file cannot be written.
    """
    writer = _Writer()
    entry = writer.entry(part, type(part).__name__)
    text = json.dumps({"format": _FORMAT, "part": entry})
    file = io.BytesIO()
    np.savez(file, np.array(text), *writer.arrays)
    write_bytes(path, file.getvalue())


def load(path: str | Path, *, trusted: Sequence[str] = ()) -> Any:
    """The part that `save` has kept, with the same arrays bit for bit.

    Args:
        trusted: packages or modules whose classes and functions may stand in the file, beside
            those of genmix, flax, jax and numpy. Name here the modules of your own parts.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no saved part, has been changed, or names what is not trusted.
    """
    content = read_bytes(path)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            text, *arrays = (file[f"arr_{i}"] for i in range(len(file)))
        stated = json.loads(text.item())
        if stated["format"] != _FORMAT:
            raise ValueError(f"its format is {stated['format']!r}, this is genmix of {_FORMAT}")
        return _Reader(arrays, (*TRUSTED, *trusted)).value(stated["part"])
    except _UNREADABLE as error:
        raise ValueError(f"{path} does not hold a part that can be loaded: {error}.") from error


class _Writer:
    """Turns values into what JSON can hold, and collects the arrays."""

    def __init__(self):
        self.arrays: list[np.ndarray] = []
        self._seen: dict[int, int] = {}

    def entry(self, value: Any, place: str) -> Any:
        write = lambda item: self.entry(item, place)
        listed = lambda items: [self.entry(item, f"{place}[{i}]") for i, item in enumerate(items)]
        named = lambda items: {k: self.entry(v, f"{place}.{k}") for k, v in items.items()}
        if type(value) in _SCALARS:
            finite = not isinstance(value, float) or math.isfinite(value)
            return value if finite else {"float": repr(value)}
        if isinstance(value, jax.Array | np.ndarray | np.generic):
            return self._array(value)
        if type(value) in _SEQUENCES:
            return {_SEQUENCES[type(value)]: listed(value)}
        if type(value) is dict:
            return {
                "dict": [
                    [write(key), self.entry(v, f"{place}[{key!r}]")] for key, v in value.items()
                ]
            }
        if isinstance(value, np.dtype):
            return {"dtype": value.name}
        if isinstance(value, Redraw):
            return {"redraw": None}
        if isinstance(value, functools.partial):
            return {"partial": [write(value.func), listed(value.args), named(value.keywords)]}
        if isinstance(value, type) or not (kind := _kind(value)):
            return {"name": _name(value, place)}
        entry = {"class": _name(type(value), place)}
        if kind == "fields":
            fields = [field.name for field in dataclasses.fields(value) if field.init]
            return entry | {"fields": named({name: getattr(value, name) for name in fields})}
        if kind == "items":
            return entry | {"items": listed(value)}
        if id(value) in self._seen:
            return {"same": self._seen[id(value)]}
        self._seen[id(value)] = len(self._seen)
        if kind == "variable":
            return entry | {
                "variable": self.entry(value.get_value(), place),
                "metadata": named(value.get_metadata()),
            }
        attributes = {k: v for k, v in vars(value).items() if k not in (_STATE, _NODES)}
        return entry | {"attributes": named(attributes), "nodes": dict(vars(value)[_NODES])}

    def _array(self, value: jax.Array | np.ndarray | np.generic) -> dict[str, Any]:
        """NPZ has neither keys nor bfloat16 and its kin: those are kept as bits."""
        entry: dict[str, Any] = {"array": len(self.arrays)}
        if isinstance(value, jax.Array):
            if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
                entry["key"] = str(jax.random.key_impl(value))
                value = jax.random.key_data(value)
        else:
            entry["numpy"] = True
        array = np.asarray(value)
        entry["dtype"] = array.dtype.name
        bits = array.view(f"u{array.dtype.itemsize}") if array.dtype.kind == "V" else array
        self.arrays.append(bits)
        return entry


class _Reader:
    """Turns what `_Writer` has made into values again."""

    def __init__(self, arrays: Sequence[np.ndarray], trusted: tuple[str, ...]):
        self._arrays, self._trusted = arrays, trusted
        self._seen: list[Any] = []

    def value(self, entry: Any) -> Any:
        if type(entry) in _SCALARS:
            return entry
        named = lambda items: {name: self.value(item) for name, item in items.items()}
        match entry:
            case {"float": text}:
                return float(text)
            case {"array": _}:
                return self._array(entry)
            case {"dict": pairs}:
                return {self.value(key): self.value(item) for key, item in pairs}
            case {"dtype": name}:
                return jnp.dtype(name)
            case {"redraw": _}:
                return Redraw(_no_redraw, nnx.Rngs(0))
            case {"partial": [function, arguments, keywords]}:
                bound = map(self.value, arguments)
                return functools.partial(self.value(function), *bound, **named(keywords))
            case {"name": name}:
                return self._named(name)
            case {"class": name, "fields": fields}:
                return self._class(name, "fields")(**named(fields))
            case {"class": name, "items": items}:
                return self._class(name, "items")(*map(self.value, items))
            case {"same": index}:
                return self._seen[index]
            case {"class": name, "variable": value, "metadata": metadata}:
                place = len(self._seen)
                self._seen.append(None)
                value, kind = self.value(value), self._class(name, "variable")
                self._seen[place] = kind(value, **named(metadata))
                return self._seen[place]
            case {"class": name, "attributes": attributes, "nodes": nodes}:
                module = object.__new__(self._class(name, "module"))
                self._seen.append(module)
                own = {_STATE: PytreeState(), _NODES: HashableMapping(nodes)}
                vars(module).update(own | named(attributes))
                return module
        for kind, name in _SEQUENCES.items():
            if isinstance(entry, dict) and set(entry) == {name}:
                return kind(map(self.value, entry[name]))
        raise ValueError(f"nothing is known of the entry {str(entry)[:80]}")

    def _array(self, entry: dict[str, Any]) -> Any:
        array, dtype = self._arrays[entry["array"]], jnp.dtype(entry["dtype"])
        array = array.view(dtype) if dtype.kind == "V" else array
        if entry.get("numpy"):
            return array
        if jax.dtypes.canonicalize_dtype(dtype) != dtype:
            raise ValueError(f"it holds {dtype} numbers, which need jax_enable_x64")
        value = jnp.asarray(array, dtype)
        return jax.random.wrap_key_data(value, impl=entry["key"]) if "key" in entry else value

    def _class(self, name: str, kind: str) -> Any:
        found = self._named(name)
        if not isinstance(found, type) or not _is_kind(found, kind):
            raise ValueError(f"{name} is no class whose {kind} could stand here")
        return found

    def _named(self, name: str) -> Any:
        stated = name.partition(":")[0]
        if not self._trusts(stated):  # to import a module is to run it
            raise ValueError(f"it names {name}; if you trust that, pass trusted=({stated!r},)")
        found = _look_up(name)
        home = getattr(found, "__module__", None) or ""
        # jax shows under public names what it has in private modules.
        if not callable(found) or not (self._trusts(home) or home.startswith("jax.")):
            raise ValueError(f"{name} is no class or function of {stated}")
        return found

    def _trusts(self, module: str) -> bool:
        return any(module == one or module.startswith(f"{one}.") for one in self._trusted)


def _kind(value: object) -> str | None:
    kinds = ("module", "variable", "items", "fields")
    return next((kind for kind in kinds if _is_kind(type(value), kind)), None)


def _is_kind(cls: type, kind: str) -> bool:
    match kind:
        case "module":
            return issubclass(cls, nnx.Pytree)
        case "variable":
            return issubclass(cls, nnx.Variable)
        case "items":
            return issubclass(cls, tuple) and hasattr(cls, "_fields")
        case _:
            return dataclasses.is_dataclass(cls) and not issubclass(cls, nnx.Pytree)


def _name(value: Any, place: str) -> str:
    """Where another process finds a class or a function.

    Raises:
        TypeError: if it has no name that leads to it.
    """
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    # Public names first: those in jax._src move from version to version.
    for module in ("jax.nn", "jax.numpy", "jax.lax", "jax.scipy.special", "flax.nnx", None):
        module = module or getattr(value, "__module__", None)
        try:
            if module and name and _look_up(f"{module}:{name}") is value:
                return f"{module}:{name}"
        except (ImportError, AttributeError):
            continue
    raise TypeError(
        f"{place} is {value!r}, which no other process could find by a name: a part can be kept if "
        "it is made of modules, records, arrays, numbers, and functions and classes that stand at "
        "the top of a module; give it a `def` of its own there."
    )


def _look_up(name: str) -> Any:
    module, _, path = name.partition(":")
    found = importlib.import_module(module)
    for attribute in path.split("."):
        found = getattr(found, attribute)
    return found


def _no_redraw(num_outputs: int, rngs: nnx.Rngs) -> Any:
    raise ValueError(
        f"A network from a file gives as many outputs as it was saved with, not {num_outputs}; "
        "build a new one."
    )
