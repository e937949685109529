"""The target of a kernel: a log-density of one position, perhaps not normalized, in nats."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.tree_util import Partial
from jaxtyping import Array, Float, PyTree

LogDensity = Callable[[Any], Any]
"""Position, any pytree of arrays -> scalar; -inf off the support."""


def as_pytree(f: Callable) -> Partial:
    """A function as a pytree, so that the arrays it owns are arguments of `jit`, not constants.

    They are those of a `jax.tree_util.Partial`, of a callable that is a pytree of arrays, such as a
    module, and of the owner of a bound method if that is one. A closure keeps its arrays as
    constants.
    """
    if isinstance(f, Partial):
        return f
    if _is_pytree_of_arrays(f):
        return Partial(_call, f)
    owner = getattr(f, "__self__", None)
    if _is_pytree_of_arrays(owner):
        return Partial(f.__func__, owner)  # pyright: ignore[reportFunctionMemberAccess]
    return Partial(f)


def _is_pytree_of_arrays(tree: Any) -> bool:
    leaves = jax.tree.leaves(tree)
    is_tree = bool(leaves) and leaves[0] is not tree
    return is_tree and all(isinstance(leaf, jax.Array) for leaf in leaves)


def _call(f: Callable, *args: Any) -> Any:
    return f(*args)


def as_position(position: PyTree, *, real: bool = True) -> Any:
    """A position with its numbers as arrays.

    Raises:
        TypeError: if `real` and an array is not of a floating type.
        ValueError: if there is no array.
    """
    position = jax.tree.map(jnp.asarray, position)
    leaves = jax.tree.leaves(position)
    if not leaves:
        raise ValueError("a position must hold at least one array, got an empty pytree.")
    for leaf in leaves if real else ():
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise TypeError(
                f"this kernel moves real numbers, got a position with an array of {leaf.dtype}: "
                "convert it, or use a kernel for discrete positions (gibbs, metropolis_hastings)."
            )
    return position


def in_precision_of(position: PyTree, new: PyTree) -> PyTree:
    """A new position whose real numbers have as many bits as those of the position.

    With x64 on, a user's `jax.random.normal` is of another precision than a position in float32.
    """

    def one(old, new):
        is_real = all(jnp.issubdtype(jnp.result_type(a), jnp.floating) for a in (old, new))
        return jnp.asarray(new, old.dtype) if is_real else new

    return jax.tree.map(one, position, new)


def value(logdensity_fn: LogDensity, position: PyTree) -> Float[Array, ""]:
    """The log-density at a position.

    Raises:
        ValueError: if it is not one real number.
    """
    return _checked(logdensity_fn(position))


def value_and_grad(logdensity_fn: LogDensity, position: PyTree) -> tuple[Float[Array, ""], PyTree]:
    """The log-density at a position, and its gradient.

    Raises:
        ValueError: if it is not one real number.
    """
    return jax.value_and_grad(lambda x: value(logdensity_fn, x))(position)


def _checked(logdensity: Any) -> Array:
    logdensity = jnp.asarray(logdensity)
    if logdensity.shape != () or not jnp.issubdtype(logdensity.dtype, jnp.floating):
        raise ValueError(
            "logdensity_fn must return one real number for one position, got "
            f"{logdensity.dtype}{list(logdensity.shape)}: sum over the event; "
            "chains are mapped by the runner."
        )
    return logdensity


def require_positive(name: str, value: Any) -> None:
    """Check a step size or scale, where its value is known (outside `jit`).

    Raises:
        ValueError: naming the argument and its value, if that is not positive and finite.
    """
    if isinstance(value, Tracer):
        return
    array = np.asarray(value)  # not jnp, whose operations are traced under `jit` even on constants
    if not np.all((array > 0) & np.isfinite(array)):
        raise ValueError(f"{name} must be positive and finite, got {value}.")
