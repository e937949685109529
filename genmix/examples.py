"""How many examples a pytree of arrays holds: the one check of whatever gathers from a user's data.

A gather that runs past the end of an array gives its last entry again, without a word; so arrays
that do not belong together would be trained on in pairs that no one has made.
"""

import jax
import numpy as np
from jaxtyping import PyTree


def count(arrays: PyTree, name: str = "x") -> int:
    """The common length of the first axes of all arrays, images and their labels for instance.

    Args:
        name: of the argument, for the error.

    Raises:
        ValueError: if the arrays differ in length, one of them has no axis or masked entries, or
            there is none.
    """
    lengths: dict[str, int] = {}
    for path, leaf in jax.tree.leaves_with_path(arrays):
        shape = np.shape(leaf)
        where = name + jax.tree_util.keystr(path)
        if not shape:
            raise ValueError(
                f"{where} must be an array with the examples along its first axis, got {leaf!r}; "
                "make an array of single numbers with numpy.asarray."
            )
        if np.ma.is_masked(leaf):
            raise ValueError(
                f"{where} has masked entries, which would count as data: fill them "
                "(array.filled(value)), or leave these examples out."
            )
        lengths[where] = shape[0]
    if not lengths:
        raise ValueError(f"{name} holds no arrays, so there are no examples.")
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{where} {length}" for where, length in lengths.items())
        raise ValueError(
            f"the arrays of {name} must have as many examples each, along their first axes; got "
            f"{found}."
        )
    return next(iter(lengths.values()))
