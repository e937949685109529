"""How chains lie inside a run, for speed alone: along which axis, and how many at once.

A kernel moves one chain; mapped over the last axis its arrays are [dim, chains], so that every
elementwise operation works on long rows, however few dimensions a position has. But a large product
of the target's own matrix with each position is one matrix product if the chains come first.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import jax

from genmix.mcmc.engine.chains import apart, together

Layout = Literal["auto", "first", "last"]

_LARGEST = 4096
_LARGEST_WITH_GRADIENT = 16_384
"""Multiply-adds of one chain's matrix product, up to which chains go last on a CPU; measured."""

_GROUP_BYTES = 2**18
"""Of one array of all chains in a group, on a CPU; measured."""

_SMALLEST_GROUP = 64


class Extent(NamedTuple):
    """What one transition of one chain takes."""

    product: float
    """Multiply-adds of its largest matrix product; inf for convolutions, factorizations and
    triangular solves, which want chains first, too."""
    num_bytes: int
    """Of its largest array, or of the state if that is larger."""


def chains_last(layout: str, chains: Any, kernel: Any) -> bool:
    """The choice for these chains; it depends on shapes alone, so that reruns choose alike.

    Raises:
        ValueError: if layout is none of the three.
    """
    if layout not in ("auto", "first", "last"):
        raise ValueError(f"layout must be 'auto', 'first' or 'last', got {layout!r}.")
    if layout != "auto":
        return layout == "last"
    if jax.default_backend() != "cpu":
        return False
    has_gradient = hasattr(chains.state, "logdensity_grad")
    largest = _LARGEST_WITH_GRADIENT if has_gradient else _LARGEST
    return extent(kernel, chains.state).product <= largest


def group_limit(chains: Any, kernel: Any) -> int | None:
    """Chains whose largest array in a transition a CPU's cache holds; None elsewhere."""
    if jax.default_backend() != "cpu":
        return None
    return _GROUP_BYTES // extent(kernel, chains.state).num_bytes


def group_size(num_chains: int, limit: int | None) -> int:
    """Chains that go through a run together: all of them, or the most that divide them evenly."""
    if limit is None or limit >= num_chains:
        return num_chains
    fitting = [n for n in range(_SMALLEST_GROUP, limit + 1) if num_chains % n == 0]
    return max(fitting, default=num_chains)


def extent(kernel: Any, states: Any) -> Extent:
    """The extent of one transition, from its program; traced once for each kernel and shape."""
    shape = lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype)
    one = lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype)
    arrays, constants = apart(kernel)
    leaves, structure = jax.tree.flatten(states)
    return _extent(tuple(map(shape, arrays)), constants, tuple(map(one, leaves)), structure)


@functools.lru_cache(maxsize=256)
def _extent(arrays: Any, constants: Any, states: Any, structure: Any) -> Extent:
    def step(arrays, key, state):
        return together(arrays, constants).step(key, state)

    key = jax.eval_shape(lambda: jax.random.key(0))
    jaxpr = jax.make_jaxpr(step)(arrays, key, jax.tree.unflatten(structure, states))
    equations = list(_equations(jaxpr.jaxpr))
    outputs = [out.aval for equation in equations for out in equation.outvars]
    sizes = [_num_bytes(aval) for aval in outputs if hasattr(aval, "dtype")]
    num_bytes = max(sum(map(_num_bytes, states)), *sizes, 1)
    return Extent(max(map(_size, equations), default=0.0), num_bytes)


def _num_bytes(array: Any) -> int:
    return math.prod(array.shape) * array.dtype.itemsize


def _equations(jaxpr: Any) -> Iterator[Any]:
    """All equations of a program, those of its loops and branches too."""
    is_program = lambda leaf: hasattr(leaf, "eqns") or hasattr(leaf, "jaxpr")
    for equation in jaxpr.eqns:
        yield equation
        for leaf in jax.tree.leaves(equation.params, is_leaf=is_program):
            if is_program(leaf):
                yield from _equations(getattr(leaf, "jaxpr", leaf))


def _size(equation: Any) -> float:
    name = equation.primitive.name
    if name in ("conv_general_dilated", "triangular_solve", "cholesky"):
        return math.inf
    if name != "dot_general":
        return 0.0
    (contracted, _), _ = equation.params["dimension_numbers"]
    left, out = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
    return float(math.prod(out) * math.prod(left[i] for i in contracted))
