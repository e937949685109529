"""Stored draws for ArviZ, which is needed here alone."""

from typing import Any

import jax
import numpy as np

from genmix.mcmc.runner import Draws


def from_draws(draws: Draws) -> Any:
    """ArviZ's data of posterior draws; each array of a position is a variable.

    A position that is one array is called "x".

    Raises:
        ImportError: if arviz-base is not installed.
    """
    try:
        import arviz_base
    except ImportError as error:
        raise ImportError("the export needs ArviZ: pip install arviz-base.") from error
    leaves, _ = jax.tree_util.tree_flatten_with_path(draws.position)
    named = {
        jax.tree_util.keystr(path, simple=True, separator="/") or "x": np.asarray(leaf)
        for path, leaf in leaves
    }
    return arviz_base.from_dict({"posterior": named})
