"""Figures that are reported of models of latent variables, and their columns."""

from typing import Any

import jax
import numpy as np
from jaxtyping import ArrayLike

from experiments.study.table import Column, Row
from genmix import evaluation

NLL: dict[str, Column] = {"NLL": "{nll:.2f}", "±": "{nll_standard_error:.2f}"}
"""Columns of `nll`."""


def nll(
    key: jax.Array, model: Any, x: ArrayLike, particles: int, **options: Any
) -> dict[str, float]:
    """-log p(x) by importance sampling, in nats an event, and its standard error."""
    found = evaluation.log_likelihood(key, model, x, num_particles=particles, **options)
    return {"nll": found.nll, "nll_standard_error": found.standard_error}


def units(key: jax.Array, model: Any, x: ArrayLike) -> dict[str, list[int]]:
    """How many dimensions of each layer of latents are active, and of how many."""
    layers = evaluation.active_units(key, model, x)
    return {
        "active_units": [int(np.sum(layer)) for layer in layers],
        "latent_units": [len(layer) for layer in layers],
    }


def active(row: Row) -> str:
    """The column of `units`, such as "7 of 10 + 3 of 5"; empty of what has no latents."""
    layers = zip(row.get("active_units", []), row.get("latent_units", []), strict=True)
    return " + ".join(f"{active} of {dims}" for active, dims in layers)
