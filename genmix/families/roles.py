"""Parts in their roles inside a model: with the capability, and arrays that the model can see."""

from typing import Any

import jax
import numpy as np
from flax import nnx

from genmix import capabilities


def require_posterior(part: Any) -> None:
    """As `capabilities.require_posterior`, of a part that a module is to hold.

    Raises:
        TypeError: naming the part, what it lacks and the remedy.
    """
    require_module(part, "posterior")
    capabilities.require_posterior(part)


def require_weighted(part: Any, role: str) -> None:
    """As `capabilities.require_weighted`, of a part that a module is to hold.

    Raises:
        TypeError: naming the part, its role and the remedy.
    """
    require_module(part, role)
    capabilities.require_weighted(part, role)


def require_bounded(part: Any, role: str) -> None:
    """As `capabilities.require_bounded`, of a part that a module is to hold.

    Raises:
        TypeError: naming the part, its role and the remedy.
    """
    require_module(part, role)
    capabilities.require_bounded(part, role)


def require_module(part: Any, role: str) -> None:
    """Check that a part's arrays are where a module that holds it can see them.

    Raises:
        TypeError: for a pytree of arrays that is no `nnx.Module`: a named tuple or registered
            dataclass with arrays, a distribution or network of another library.
    """
    if isinstance(part, (nnx.Module, type)):
        return
    if any(isinstance(leaf, (jax.Array, np.ndarray, nnx.Variable)) for leaf in _arrays(part)):
        name = type(part).__name__
        raise TypeError(
            f"{name} cannot be the {role}: it holds arrays and is no nnx.Module, so it is no part "
            f"of a model. Write class My{name}(nnx.Module) that keeps its arrays as nnx.Param (or, "
            "as they are, in nnx.Variable) and has the methods log_prob(x, cond) and sample(key, "
            'cond): see "Parts of other libraries" in docs/write_your_own_part.md.'
        )


def _arrays(part: Any) -> list[Any]:
    """What a pytree holds; of an object that is a leaf, nothing."""
    return [] if jax.tree_util.all_leaves([part]) else jax.tree.leaves(part)
