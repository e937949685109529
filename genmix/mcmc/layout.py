"""How chains lie inside a run, for speed alone: along which axis, and how many at once.

A kernel moves one chain; mapped over the last axis its arrays are [dim, chains], so that every
elementwise operation works on long rows, however few dimensions a position has. But a large product
of the target's own matrix with each position is one matrix product if the chains come first.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any, Literal

import jax

from genmix.mcmc.chains import apart, together

Layout = Literal["auto", "first", "last"]

_LARGEST = 4096
_LARGEST_WITH_GRADIENT = 16_384
"""Multiply-adds of one chain's matrix product, up to which chains go last on a CPU; measured."""

_GROUP_BYTES = 2**18
_SMALLEST_GROUP = 64
"""Of an array of the chains that a CPU moves at once, and how many these are at least; measured."""


def chains_last(layout: str, chains: Any, kernel: Any) -> bool:
    """The choice for these chains; it depends on shapes alone, so that reruns choose alike.

    Raises:
        ValueError: if layout is none of the three.
    """
    if layout not in ("auto", "first", "last"):
        raise ValueError(f"layout must be 'auto', 'first' or 'last', got {layout!r}.")
    if layout != "auto":
        return layout == "last"
    has_gradient = hasattr(chains.state, "logdensity_grad")
    largest = _LARGEST_WITH_GRADIENT if has_gradient else _LARGEST
    return jax.default_backend() == "cpu" and largest_product(kernel, chains.state) <= largest


def largest_product(kernel: Any, states: Any) -> float:
    """Multiply-adds of the largest matrix product in one transition of one chain; inf for others.

    Others are convolutions, factorizations and triangular solves, which want chains first, too.
    """
    return max(map(_size, _transition(kernel, states)), default=0.0)


def group_limit(kernel: Any, states: Any) -> int | None:
    """Chains whose largest array in a transition a CPU's cache holds; None elsewhere."""
    if jax.default_backend() != "cpu":
        return None
    leaves = jax.tree.leaves(states)
    state_bytes = sum(math.prod(leaf.shape[1:]) * leaf.dtype.itemsize for leaf in leaves)
    outputs = (out.aval for equation in _transition(kernel, states) for out in equation.outvars)
    sizes = [aval.size * aval.dtype.itemsize for aval in outputs if hasattr(aval, "dtype")]
    return _GROUP_BYTES // max(state_bytes, *sizes, 1)


def group_size(num_chains: int, limit: int | None) -> int:
    """Chains that go through a run together: all of them, or the most that divide them evenly."""
    if limit is None or limit >= num_chains:
        return num_chains
    fitting = [n for n in range(_SMALLEST_GROUP, limit + 1) if num_chains % n == 0]
    return max(fitting, default=num_chains)


def _transition(kernel: Any, states: Any) -> tuple[Any, ...]:
    """All equations of the program of one transition of one chain."""
    shape = lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype)
    one = lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype)
    arrays, constants = apart(kernel)
    states, structure = jax.tree.flatten(jax.tree.map(one, states))
    return _traced(tuple(map(shape, arrays)), constants, tuple(states), structure)


@functools.lru_cache(maxsize=256)
def _traced(arrays: Any, constants: Any, states: Any, structure: Any) -> tuple[Any, ...]:
    def step(arrays, key, state):
        return together(arrays, constants).step(key, state)

    key = jax.eval_shape(lambda: jax.random.key(0))
    jaxpr = jax.make_jaxpr(step)(arrays, key, jax.tree.unflatten(structure, states))
    return tuple(_equations(jaxpr.jaxpr))


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
